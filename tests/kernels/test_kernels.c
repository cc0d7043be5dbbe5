/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The kernels of one instruction set, alone: each beside a naive loop written from kernels.h.
 *
 * Compiled with -DFC_ISA=<name> and linked with the object of isa_<name>.c; see run.py. No Python, so
 * it runs under an emulator of another processor, and under sanitizers without further ado.
 *
 * All sums are exact: integers wrap modulo 2^n, and floats hold small integers. So every comparison
 * is for equality. Buffers have the exact size that the contract asks for, for the sanitizer, and
 * are aligned to one element only.
 */
#include "kernels.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

#define DEFINE_ISA(isa) FC_DEFINE_ISA(isa)
DEFINE_ISA(FC_ISA)

static int n_passed, n_failed;

/* Count a test; tell about the first failures. */
static void report(int is_right, const char *format, ...) {
    if (is_right) {
        n_passed++;
    } else if (n_failed++ < 20) {
        va_list values;
        va_start(values, format);
        printf("FAILED " TEXT(FC_ISA) " ");
        vprintf(format, values);
        printf("\n");
        va_end(values);
    }
}

static uint64_t random_bits(void) { /* splitmix64 */
    static uint64_t state = 1;
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static ptrdiff_t random_below(ptrdiff_t n) { return (ptrdiff_t)(random_bits() % (uint64_t)n); }

/* ---- numbers of any type ------------------------------------------------------------------- */

static const ptrdiff_t type_bytes[FC_N_TYPES] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8};
static const char *const type_names[FC_N_TYPES] = {"i8",  "u8",  "i16", "u16", "i32", "u32",
                                                   "i64", "u64", "f16", "f32", "f64"};
static const fc_type_t compute_types[FC_N_COMPUTE] = {FC_U32, FC_U64, FC_F32, FC_F64};

static int is_float(fc_type_t type) { return type >= FC_F16; }

static double half_value(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double size = exponent == 31  ? (fraction ? NAN : INFINITY)
                        : exponent == 0 ? ldexp(fraction, -24)
                                        : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -size : size;
}

/* The binary16 nearest to a double, ties to even; of NaN, some NaN. */
static uint16_t nearest_half(double value) {
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    int exponent;
    if (isnan(value)) return 0x7e00;
    if (value == 0) return sign;
    if (isinf(value)) return sign | 0x7c00;
    frexp(value, &exponent);                     /* |value| in [2^(exponent - 1), 2^exponent) */
    exponent = exponent < -13 ? -13 : exponent;
    const double units = nearbyint(ldexp(fabs(value), 11 - exponent)); /* 2048 carries over */
    const uint32_t bits = (uint32_t)units + ((uint32_t)(exponent + 13) << 10);
    return sign | (uint16_t)(bits > 0x7c00 ? 0x7c00 : bits);
}

/* A number as an integer modulo 2^64, or as a double. */
typedef struct {
    uint64_t integer;
    double real;
} number_t;

static number_t get(fc_type_t type, const void *at) {
    number_t v = {0, 0};
    float f;
    memcpy(&v.integer, at, (size_t)type_bytes[type]); /* little-endian, as all we build for */
    switch (type) {
    case FC_I8: v.integer = (uint64_t)(int64_t)(int8_t)v.integer; break;
    case FC_I16: v.integer = (uint64_t)(int64_t)(int16_t)v.integer; break;
    case FC_I32: v.integer = (uint64_t)(int64_t)(int32_t)v.integer; break;
    case FC_F16: v.real = half_value((uint16_t)v.integer); return v;
    case FC_F32: memcpy(&f, at, 4); v.real = f; return v;
    case FC_F64: memcpy(&v.real, at, 8); return v;
    default: break;
    }
    v.real = type == FC_U64 ? (double)v.integer : (double)(int64_t)v.integer;
    return v;
}

static void put(fc_type_t type, void *at, number_t v) {
    const float f = (float)v.real;
    if (type == FC_F16) v.integer = nearest_half(v.real);
    if (type == FC_F64) memcpy(&v.integer, &v.real, 8);
    memcpy(at, type == FC_F32 ? (const void *)&f : &v.integer, (size_t)type_bytes[type]);
}

/* What an array of `type` would hold after v was written to it. */
static int is_equal(fc_type_t type, const void *at, number_t v) {
    char expected[8];
    put(type, expected, v);
    if (is_float(type) && isnan(v.real)) return isnan(get(type, at).real);
    return memcmp(expected, at, (size_t)type_bytes[type]) == 0;
}

/* ---- arrays -------------------------------------------------------------------------------- */

/* n numbers, aligned to one element only and with nothing behind them. */
typedef struct {
    fc_type_t type;
    ptrdiff_t n;
    char *block, *data;
} array_t;

static array_t new_array(fc_type_t type, ptrdiff_t n) {
    const ptrdiff_t size = type_bytes[type];
    array_t a = {type, n, malloc((size_t)((n + 1) * size)), NULL};
    if (!a.block) abort();
    a.data = a.block + size;
    for (ptrdiff_t i = 0; i < n; i++) {
        number_t v = {random_bits(), (double)(random_below(17) - 8)};
        put(type, a.data + i * size, v);
    }
    return a;
}

static array_t copy_of(array_t a) {
    array_t b = new_array(a.type, a.n);
    memcpy(b.data, a.data, (size_t)(a.n * type_bytes[a.type]));
    return b;
}

static char *at(array_t a, ptrdiff_t i) { return a.data + i * type_bytes[a.type]; }

/* sum += a[i] * b[j] */
static void multiply_add(number_t *sum, array_t a, ptrdiff_t i, array_t b, ptrdiff_t j) {
    const number_t x = get(a.type, at(a, i)), y = get(b.type, at(b, j));
    sum->integer += x.integer * y.integer;
    sum->real += x.real * y.real;
}

static void add_number(number_t *sum, array_t a, ptrdiff_t i) {
    const number_t v = get(a.type, at(a, i));
    sum->integer += v.integer;
    sum->real += v.real;
}

static void set(array_t a, ptrdiff_t i, number_t v) { put(a.type, at(a, i), v); }

static int same(array_t a, array_t b) {
    return memcmp(a.data, b.data, (size_t)(a.n * type_bytes[a.type])) == 0;
}

static void release(array_t a) { free(a.block); }

/* ---- gemm, dot, stencil -------------------------------------------------------------------- */

static number_t start(array_t c, ptrdiff_t i, int accumulate) {
    const number_t zero = {0, 0};
    return accumulate ? get(c.type, at(c, i)) : zero;
}

static void test_gemm(const fc_kernels_t *kernels, fc_type_t type) {
    static const ptrdiff_t terms[] = {1, 2, 127, 128, 129, 256, 300};
    for (int nv = 1; nv <= FC_GEMM_MAX_VECTORS; nv++) {
        for (int mr = 1; mr <= kernels->gemm_rows[nv]; mr++) {
            for (int t = 0; t < COUNT(terms); t++) {
                const ptrdiff_t k = terms[t], lda = k + 3, nr = nv * kernels->lanes;
                array_t a = new_array(type, (mr - 1) * lda + k), b = new_array(type, 400 + nr);
                ptrdiff_t *offset = malloc((size_t)k * sizeof *offset);
                for (ptrdiff_t i = 0; i < k; i++) offset[i] = i == 0 ? 400 : random_below(401);
                for (int accumulate = 0; accumulate <= 1; accumulate++) {
                    array_t c = new_array(type, mr * nr), expected = copy_of(c);
                    for (ptrdiff_t i = 0; i < mr * nr; i++) {
                        number_t sum = start(c, i, accumulate);
                        for (ptrdiff_t kk = 0; kk < k; kk++)
                            multiply_add(&sum, a, i / nr * lda + kk, b, offset[kk] + i % nr);
                        set(expected, i, sum);
                    }
                    kernels->gemm[nv][mr](k, a.data, lda, b.data, offset, c.data, accumulate);
                    report(same(c, expected), "%s gemm %dx%d k=%d accumulate=%d", kernels->name, mr,
                           (int)nr, (int)k, accumulate);
                    release(c), release(expected);
                }
                release(a), release(b), free(offset);
            }
        }
    }
}

static void test_gemm_into(const fc_kernels_t *kernels, fc_type_t type) {
    static const ptrdiff_t terms[] = {1, 5, FC_K_BLOCK + 1};
    for (int nv = 1; nv <= FC_GEMM_MAX_VECTORS; nv++) {
        for (int mr = 1; mr <= kernels->gemm_rows[nv]; mr++) {
            for (int t = 0; t < 2 * COUNT(terms); t++) {
                const ptrdiff_t k = terms[t / 2], nr = nv * kernels->lanes;
                const ptrdiff_t last = t % 2 ? kernels->lanes : 1 + random_below(kernels->lanes);
                const ptrdiff_t n = nr - kernels->lanes + last, ldc = n + 3;
                array_t a = new_array(type, mr * k), b = new_array(type, 50 + nr);
                array_t bias = new_array(type, mr);
                ptrdiff_t *offset = malloc((size_t)k * sizeof *offset);
                for (ptrdiff_t i = 0; i < k; i++) offset[i] = i == 0 ? 50 : random_below(51);
                for (int accumulate = 0; accumulate <= 1; accumulate++) {
                    array_t c = new_array(type, (mr - 1) * ldc + n), expected = copy_of(c);
                    for (ptrdiff_t i = 0; i < mr * n; i++) {
                        number_t sum = start(c, i / n * ldc + i % n, accumulate);
                        for (ptrdiff_t kk = 0; kk < k; kk++)
                            multiply_add(&sum, a, i / n * k + kk, b, offset[kk] + i % n);
                        if (mr % 2) add_number(&sum, bias, i / n);
                        set(expected, i / n * ldc + i % n, sum);
                    }
                    kernels->gemm_into[nv][mr](k, a.data, k, b.data, offset, c.data, ldc, last,
                                               mr % 2 ? bias.data : NULL, accumulate);
                    report(same(c, expected), "%s gemm_into %dx%d k=%d last=%d accumulate=%d",
                           kernels->name, mr, (int)nr, (int)k, (int)last, accumulate);
                    release(c), release(expected);
                }
                release(a), release(b), release(bias), free(offset);
            }
        }
    }
}

static void test_dot(const fc_kernels_t *kernels, fc_type_t type) {
    static const ptrdiff_t terms[] = {1, 3, 15, 16, 17, 64, 200};
    for (int n = 1; n <= FC_DOT_MAX_PIXELS; n++) {
        for (ptrdiff_t m = 1; m <= FC_GEMM_MAX_ROWS; m++) {
            for (int t = 0; t < COUNT(terms); t++) {
                const ptrdiff_t k = terms[t], lda = k + 1, ldb = k + 2, ldc = n + 2;
                array_t a = new_array(type, (m - 1) * lda + k);
                array_t b = new_array(type, (n - 1) * ldb + k);
                for (int accumulate = 0; accumulate <= 1; accumulate++) {
                    array_t c = new_array(type, (m - 1) * ldc + n), expected = copy_of(c);
                    for (ptrdiff_t i = 0; i < m; i++) {
                        for (ptrdiff_t j = 0; j < n; j++) {
                            number_t sum = start(c, i * ldc + j, accumulate);
                            for (ptrdiff_t kk = 0; kk < k; kk++)
                                multiply_add(&sum, a, i * lda + kk, b, j * ldb + kk);
                            set(expected, i * ldc + j, sum);
                        }
                    }
                    kernels->dot[n](k, m, a.data, lda, b.data, ldb, c.data, ldc, accumulate);
                    report(same(c, expected), "%s dot %d m=%d k=%d accumulate=%d", kernels->name, n,
                           (int)m, (int)k, accumulate);
                    release(c), release(expected);
                }
                release(a), release(b);
            }
        }
    }
}

/* Bitwise what gemm_into and dot give, of numbers whose sums are rounded. */
static void test_gemm_dot(const fc_kernels_t *kernels, fc_type_t type) {
    static const ptrdiff_t terms[] = {1, 15, 16, 17, FC_K_BLOCK + 1, 300, 4 * FC_K_BLOCK + 5};
    const ptrdiff_t nr = FC_GEMM_DOT_VECTORS * kernels->lanes;
    for (int mr = 1; mr <= FC_GEMM_MAX_ROWS; mr++) {
        if (!kernels->gemm_dot[mr]) {
            report(mr > kernels->gemm_rows[FC_GEMM_DOT_VECTORS] || !is_float(type), "%s gemm_dot %d",
                   kernels->name, mr);
            continue;
        }
        for (int t = 0; t < 2 * COUNT(terms); t++) {
            const int accumulate = t % 2;
            const ptrdiff_t k = terms[t / 2], lda = k + 1, last = 1 + random_below(kernels->lanes);
            const ptrdiff_t n = nr - kernels->lanes + last, ldc = n + 1;
            array_t a = new_array(type, (mr - 1) * lda + k), b = new_array(type, 50 + nr);
            array_t column = new_array(type, k), bias = new_array(type, mr);
            array_t c = new_array(type, (mr - 1) * ldc + n), expected_c = copy_of(c);
            array_t dot = new_array(type, mr), expected_dot = copy_of(dot);
            ptrdiff_t *offset = malloc((size_t)k * sizeof *offset);
            for (ptrdiff_t i = 0; i < k; i++) offset[i] = random_below(51);
            for (ptrdiff_t i = 0; i < a.n; i++) {
                const number_t v = {0, random_below(1000) / 999.0};
                set(a, i, v);
            }
            kernels->gemm_into[FC_GEMM_DOT_VECTORS][mr](k, a.data, lda, b.data, offset, expected_c.data, ldc,
                                                        last, bias.data, accumulate);
            kernels->dot[1](k, mr, a.data, lda, column.data, k, expected_dot.data, 1, accumulate);
            kernels->gemm_dot[mr](k, a.data, lda, b.data, offset, c.data, ldc, last, bias.data, column.data,
                                  dot.data, accumulate);
            report(same(c, expected_c) && same(dot, expected_dot), "%s gemm_dot %d k=%d accumulate=%d",
                   kernels->name, mr, (int)k, accumulate);
            release(a), release(b), release(column), release(bias), release(c), release(expected_c);
            release(dot), release(expected_dot), free(offset);
        }
    }
}

static void test_filterwise(const fc_kernels_t *kernels, fc_type_t type) {
    static const ptrdiff_t terms[] = {0, 1, 2, FC_K_BLOCK - 1, FC_K_BLOCK, FC_K_BLOCK + 1, 5 * FC_K_BLOCK};
    for (int nv = 0; nv <= FC_FILTERWISE_MAX_VECTORS; nv++) {
        for (ptrdiff_t p = 1; p <= kernels->filterwise_outputs[nv]; p++) {
            if (!kernels->filterwise[nv][p]) {
                report(nv == 0 && kernels->item_bytes * kernels->lanes < 32, "%s filterwise %dx%d",
                       kernels->name, (int)p, nv);
                continue;
            }
            for (int t = 0; t < COUNT(terms); t++) {
                const ptrdiff_t nr = nv > 0 ? nv * kernels->lanes : kernels->lanes / 2;
                const ptrdiff_t k = terms[t], step = 1 + random_below(p > FC_FILTERWISE_MOST_APART ? 2 : 4);
                ptrdiff_t *offset = malloc((size_t)(k + 1) * sizeof *offset);
                for (ptrdiff_t kk = 0; kk < k; kk++) offset[kk] = kk == 0 ? 30 : random_below(31);
                array_t x = new_array(type, (p - 1) * step + 31), w = new_array(type, k * nr);
                array_t bias = new_array(type, nr);
                for (int accumulate = 0; accumulate <= 1; accumulate++) {
                    array_t c = new_array(type, p * nr), expected = copy_of(c);
                    for (ptrdiff_t i = 0; i < p * nr; i++) {
                        number_t sum = start(c, i, accumulate);
                        for (ptrdiff_t kk = 0; kk < k; kk++)
                            multiply_add(&sum, x, i / nr * step + offset[kk], w, kk * nr + i % nr);
                        if (p % 2) add_number(&sum, bias, i % nr);
                        set(expected, i, sum);
                    }
                    kernels->filterwise[nv][p](k, x.data, step, offset, w.data,
                                               p % 2 ? bias.data : NULL, c.data, accumulate);
                    report(same(c, expected), "%s filterwise %dx%d k=%d step=%d accumulate=%d",
                           kernels->name, (int)p, nv, (int)k, (int)step, accumulate);
                    release(c), release(expected);
                }
                release(x), release(w), release(bias), free(offset);
            }
        }
    }
}

/* Whole numbers are finite, and so are all lengths of them. */
static void test_is_finite(const fc_kernels_t *kernels, fc_type_t type) {
    const double bad[] = {INFINITY, -INFINITY, NAN};
    for (ptrdiff_t n = 0; n <= 3 * kernels->lanes; n++) {
        array_t a = new_array(type, n);
        report(kernels->is_finite(n, a.data), "%s %d finite numbers", kernels->name, (int)n);
        for (ptrdiff_t i = 0; i < n && is_float(type); i++) {
            array_t b = copy_of(a);
            if (type == FC_F32) ((float *)b.data)[i] = (float)bad[i % 3];
            if (type == FC_F64) ((double *)b.data)[i] = bad[i % 3];
            report(!kernels->is_finite(n, b.data), "%s number %d of %d not finite", kernels->name,
                   (int)i, (int)n);
            release(b);
        }
        release(a);
    }
}

static void test_one_stencil(const fc_kernels_t *kernels, fc_type_t type, fc_stencil_fn stencil,
                             int rows, int s, int nv, ptrdiff_t kh, ptrdiff_t n_down,
                             ptrdiff_t n_across) {
    const ptrdiff_t n_rows = n_down * rows, lanes = kernels->lanes;
    for (ptrdiff_t kw = 1; kw <= 6; kw++) {
        /* The last vector where it belongs, or over the one before it. */
        const ptrdiff_t shift = kw % 2 || n_across * nv == 1 ? 0 : random_below(lanes);
        const ptrdiff_t n = n_across * nv * lanes - shift;
        ptrdiff_t column[6];
        for (ptrdiff_t kx = 0; kx < kw; kx++) column[kx] = kx == 0 ? 20 : random_below(21);
        const ptrdiff_t pitch = n + 23, ldw = kw + 1, ldc = n + 1;
        array_t x = new_array(type, ((n_rows - 1) * s + kh - 1) * pitch + 20 + n);
        array_t w = new_array(type, (kh - 1) * ldw + kw), bias = new_array(type, 1);
        for (int accumulate = 0; accumulate <= (shift == 0); accumulate++) {
            array_t c = new_array(type, (n_rows - 1) * ldc + n), expected = copy_of(c);
            const int has_bias = kw > 3;
            for (ptrdiff_t r = 0; r < n_rows; r++) {
                for (ptrdiff_t j = 0; j < n; j++) {
                    number_t sum = start(c, r * ldc + j, accumulate);
                    for (ptrdiff_t ky = 0; ky < kh; ky++)
                        for (ptrdiff_t kx = 0; kx < kw; kx++)
                            multiply_add(&sum, w, ky * ldw + kx, x,
                                         (r * s + ky) * pitch + column[kx] + j);
                    if (has_bias) add_number(&sum, bias, 0);
                    set(expected, r * ldc + j, sum);
                }
            }
            stencil(n_down, n_across, (nv - 1) * lanes - shift, x.data, pitch, kh, kw, column,
                    w.data, ldw, has_bias ? bias.data : NULL, c.data, ldc, accumulate);
            report(same(c, expected),
                   "%s stencil rows=%d stride=%d height=%d vectors=%d: %dx%d kw=%d shift=%d "
                   "accumulate=%d",
                   kernels->name, rows, s, (int)kh, nv, (int)n_down, (int)n_across, (int)kw,
                   (int)shift, accumulate);
            release(c), release(expected);
        }
        release(x), release(w), release(bias);
    }
}

static void test_stencil(const fc_kernels_t *kernels, fc_type_t type) {
    for (int s = 1; s <= 2; s++) {
        for (int height = 0; height <= FC_STENCIL_MAX_HEIGHT; height++) {
            int n_widths = 0;
            for (int is_tall = 0; is_tall <= 1; is_tall++) {
                const int rows = is_tall ? FC_STENCIL_TALL_ROWS : FC_STENCIL_ROWS;
                const ptrdiff_t lowest = height > 0 ? height : rows;
                const ptrdiff_t highest = height > 0 ? height : rows + 6;
                for (int nv = 1; nv <= FC_STENCIL_MAX_VECTORS; nv++) {
                    const fc_stencil_fn stencil =
                        (is_tall ? kernels->tall_stencil : kernels->stencil)[s - 1][height][nv];
                    if (!stencil) continue;
                    n_widths += !is_tall;
                    for (ptrdiff_t kh = lowest; kh <= highest; kh++) {
                        test_one_stencil(kernels, type, stencil, rows, s, nv, kh, 1, 1);
                        test_one_stencil(kernels, type, stencil, rows, s, nv, kh, 2, 3);
                    }
                }
            }
            /* At stride 1 "any" does for those from a block's rows on, at stride 2 there is none; integers
             * may do with less. */
            const int is_needed = s == 1 ? height == 0 || (is_float(type) && height < FC_STENCIL_ROWS)
                                         : height && is_float(type);
            report(n_widths > 0 || !is_needed, "%s stencil stride=%d height=%d: there is none",
                   kernels->name, s, height);
        }
    }
}

/* n_columns outputs in three rows; outputs `stride` and taps `dilation` pixels apart. With margins, half
 * a kernel on each side is not there. */
static void test_one_depthwise(const fc_kernels_t *kernels, fc_type_t type, ptrdiff_t kh, ptrdiff_t kw,
                               ptrdiff_t n_columns, ptrdiff_t stride, ptrdiff_t dilation,
                               int has_margins) {
    enum { ROWS = 3 };
    const ptrdiff_t lanes = kernels->lanes, pixel = lanes + 1, columns = (n_columns - 1) * stride + (kw - 1) * dilation + 1;
    const ptrdiff_t row = columns * pixel, rows = (ROWS - 1) * stride + (kh - 1) * dilation + 1;
    const fc_depthwise_t s = {ROWS, n_columns, kh, kw, stride * row, stride * pixel, dilation * row,
                              dilation * pixel, n_columns * lanes + 3, lanes};
    array_t x = new_array(type, rows * row - 1), w = new_array(type, kh * kw * lanes);
    array_t bias = new_array(type, lanes), y = new_array(type, ROWS * s.y_row - 3), expected = copy_of(y);
    const ptrdiff_t above = has_margins * (kh / 2) * dilation, beside = has_margins * (kw / 2) * dilation;
    const fc_extent_t extent = {above, rows - above, beside, columns - beside,
                                stride, stride, dilation, dilation};
    for (ptrdiff_t i = 0; i < ROWS * n_columns; i++) {
        const ptrdiff_t r = i / n_columns, j = i % n_columns;
        for (ptrdiff_t c = 0; c < lanes; c++) {
            number_t sum = get(type, at(bias, c));
            for (ptrdiff_t k = 0; k < kh * kw; k++) {
                const ptrdiff_t down = r * stride + k / kw * dilation, across = j * stride + k % kw * dilation;
                if (down < extent.top || down >= extent.bottom) continue;
                if (across < extent.left || across >= extent.right) continue;
                multiply_add(&sum, w, k * lanes + c, x, down * row + across * pixel + c);
            }
            set(expected, r * s.y_row + j * s.y_pixel + c, sum);
        }
    }
    kernels->depthwise(&s, has_margins ? &extent : NULL, x.data, w.data, bias.data, y.data);
    report(same(y, expected), "%s depthwise %tdx%td: %td columns, stride %td, dilation %td, margins=%d",
           kernels->name, kh, kw, n_columns, stride, dilation, has_margins);
    release(x), release(w), release(bias), release(y), release(expected);
}

/* The sums of the first call, and of a second one on top of them. */
static void test_one_depthwise_grad(const fc_kernels_t *kernels, fc_type_t type, ptrdiff_t kh,
                                    ptrdiff_t kw, ptrdiff_t n_columns, ptrdiff_t stride,
                                    ptrdiff_t dilation) {
    enum { ROWS = 3 };
    const ptrdiff_t lanes = kernels->lanes, pixel = lanes + 1, columns = (n_columns - 1) * stride + (kw - 1) * dilation + 1;
    const ptrdiff_t row = columns * pixel, rows = (ROWS - 1) * stride + (kh - 1) * dilation + 1;
    const fc_depthwise_t s = {ROWS, n_columns, kh, kw, stride * row, stride * pixel, dilation * row,
                              dilation * pixel, n_columns * lanes + 3, lanes};
    array_t x = new_array(type, rows * row - 1), dy = new_array(type, ROWS * s.y_row - 3);
    array_t sums = new_array(type, kh * kw * lanes), expected = copy_of(sums);
    for (int calls = 0; calls < 2; calls++) {
        for (ptrdiff_t k = 0; k < kh * kw; k++) {
            for (ptrdiff_t c = 0; c < lanes; c++) {
                number_t sum = calls ? get(type, at(expected, k * lanes + c)) : (number_t){0};
                for (ptrdiff_t r = 0; r < ROWS; r++)
                    for (ptrdiff_t j = 0; j < n_columns; j++)
                        multiply_add(&sum, dy, r * s.y_row + j * lanes + c, x,
                                     r * s.x_row + j * s.x_pixel + k / kw * s.tap_row + k % kw * s.tap_pixel + c);
                set(expected, k * lanes + c, sum);
            }
        }
        kernels->depthwise_grad(&s, x.data, dy.data, sums.data, calls);
        report(same(sums, expected), "%s depthwise_grad %tdx%td: %td columns, stride %td, dilation %td, call %d",
               kernels->name, kh, kw, n_columns, stride, dilation, calls);
    }
    release(x), release(dy), release(sums), release(expected);
}

static void test_depthwise_grad(const fc_kernels_t *kernels, fc_type_t type) {
    if (!is_float(type)) return;
    for (ptrdiff_t kw = 1; kw <= 11; kw++) {
        for (ptrdiff_t kh = 1; kh <= 8; kh++) {
            test_one_depthwise_grad(kernels, type, kh, kw, 6, 1, 1);
            test_one_depthwise_grad(kernels, type, kh, kw, 5, 2, 1);
            test_one_depthwise_grad(kernels, type, kh, kw, 3, 2, 2);
        }
    }
    for (ptrdiff_t n = 1; n <= 13; n++) test_one_depthwise_grad(kernels, type, 3, 3, n, 1, 1);
    test_one_depthwise_grad(kernels, type, 2, 2, 2 * FC_K_BLOCK + 3, 1, 1);
    test_one_depthwise_grad(kernels, type, 17, 2, 4, 3, 1);
}

static void test_depthwise(const fc_kernels_t *kernels, fc_type_t type) {
    for (ptrdiff_t kw = 1; kw <= 9; kw++) {
        for (ptrdiff_t n = 1; n <= 2 * FC_DEPTHWISE_PIXELS + 1; n++) {
            test_one_depthwise(kernels, type, 2, kw, n, 1, 1, 0);
            test_one_depthwise(kernels, type, 3, kw, n, 2, 1, 0);
            test_one_depthwise(kernels, type, kw, kw, n, 2, 2, 0);
            test_one_depthwise(kernels, type, 1, kw, n, 3, 2, 0);
            if (!is_float(type) || (kw != 3 && kw != 5 && kw != 7)) continue;
            test_one_depthwise(kernels, type, kw, kw, n, 1, 1, 1);
            test_one_depthwise(kernels, type, 2, kw, n, 2, 1, 1);
            test_one_depthwise(kernels, type, 3, kw, n, 2, 2, 1);
        }
    }
    /* Sums of one register, of just more, of several; rows of more than one. */
    test_one_depthwise(kernels, type, 42, 3, 5, 1, 1, 0);
    test_one_depthwise(kernels, type, 43, 3, 5, 1, 1, 0);
    test_one_depthwise(kernels, type, 100, 4, 9, 1, 1, 0);
    test_one_depthwise(kernels, type, 3, FC_K_BLOCK, 2, 1, 1, 0);
}

static void test_interleave(const fc_kernels_t *kernels, fc_type_t type) {
    const ptrdiff_t lanes = kernels->lanes;
    for (ptrdiff_t n_channels = 1; n_channels <= lanes; n_channels++) {
        for (ptrdiff_t n = 1; n <= 2 * lanes + 1; n++) {
            const ptrdiff_t channel = n + 2, pixel = lanes + 3;
            ptrdiff_t *to = malloc((size_t)n * sizeof *to);
            array_t planes = new_array(type, (n_channels - 1) * channel + n), back = copy_of(planes);
            array_t pixels = new_array(type, n * pixel), expected = copy_of(pixels);
            array_t dense = new_array(type, n * lanes), copied = copy_of(pixels);
            if (!to) abort();
            for (ptrdiff_t p = 0; p < n; p++) {
                to[p] = (n - 1 - p) * pixel;
                for (ptrdiff_t c = 0; c < lanes; c++) {
                    const number_t zero = {0, 0};
                    set(expected, to[p] + c, c < n_channels ? get(type, at(planes, c * channel + p)) : zero);
                }
            }
            kernels->interleave(n_channels, n, planes.data, channel, pixels.data, to);
            report(same(pixels, expected), "%s interleave %td channels, %td pixels", kernels->name,
                   n_channels, n);
            release(expected), expected = copy_of(back);
            for (ptrdiff_t i = 0; i < n * n_channels; i++)
                set(expected, i % n_channels * channel + i / n_channels,
                    get(type, at(dense, i / n_channels * lanes + i % n_channels)));
            kernels->deinterleave(n_channels, n, dense.data, back.data, channel);
            report(same(back, expected), "%s deinterleave %td channels, %td pixels", kernels->name,
                   n_channels, n);
            release(expected), expected = copy_of(copied);
            for (ptrdiff_t i = 0; i < n * n_channels; i++)
                set(expected, i / n_channels * pixel + i % n_channels,
                    get(type, at(dense, i / n_channels * lanes + i % n_channels)));
            kernels->copy_pixels(n_channels, n, dense.data, lanes, copied.data, pixel);
            report(same(copied, expected), "%s copy %td channels, %td pixels", kernels->name, n_channels, n);
            release(planes), release(back), release(pixels), release(dense), release(copied);
            release(expected), free(to);
        }
    }
}

/* ---- pack, stage, store, add --------------------------------------------------------------- */

static void test_pack(const fc_kernels_t *kernels, fc_type_t type) {
    const ptrdiff_t lanes = kernels->lanes, nr = 3 * lanes;
    for (ptrdiff_t width = 1; width <= nr; width++) {
        /* Runs of `width` fill a row of the panel, each from its own place. */
        const ptrdiff_t n_runs = (nr + width - 1) / width, k = 9;
        fc_run_t *runs = malloc((size_t)n_runs * sizeof *runs);
        ptrdiff_t offset[9];
        for (ptrdiff_t r = 0; r < n_runs; r++) {
            runs[r].lane = r * width;
            runs[r].start = r * (width + 5);
            runs[r].n = nr - r * width < width ? nr - r * width : width;
        }
        for (ptrdiff_t i = 0; i < k; i++) offset[i] = random_below(50);
        array_t b = new_array(type, 50 + n_runs * (width + 5) + lanes);
        array_t panel = new_array(type, k * nr + lanes);
        kernels->pack(k, b.data, offset, runs, n_runs, panel.data, nr);
        int right = 1;
        for (ptrdiff_t kk = 0; kk < k; kk++)
            for (ptrdiff_t j = 0; j < nr; j++) {
                const fc_run_t run = runs[j / width];
                const number_t v = get(type, at(b, offset[kk] + run.start + j - run.lane));
                right &= is_equal(type, at(panel, kk * nr + j), v);
            }
        report(right, "%s pack runs of %d", kernels->name, (int)width);
        release(b), release(panel);
        /* Exactly: b ends with the last run, and the panel is as it was around a run in the middle. */
        const fc_run_t middle = {2, 3, width};
        b = new_array(type, 50 + 3 + width), panel = new_array(type, k * (nr + 4));
        array_t expected = copy_of(panel);
        offset[0] = 50;
        for (ptrdiff_t kk = 0; kk < k; kk++)
            for (ptrdiff_t j = 0; j < width; j++)
                set(expected, kk * (nr + 4) + 2 + j, get(type, at(b, offset[kk] + 3 + j)));
        kernels->pack_exact(k, b.data, offset, &middle, 1, panel.data, nr + 4);
        report(same(panel, expected), "%s pack_exact a run of %d", kernels->name, (int)width);
        release(b), release(panel), release(expected), free(runs);
    }
}

/* The window (rows x columns) of an image (channels, 8, 40), with a row and two columns of padding
 * before and after, every `every`-th column, from the right if it is negative. */
static void test_one_stage(const fc_kernels_t *kernels, fc_type_t type, fc_type_t from,
                           ptrdiff_t n_channels, ptrdiff_t every, ptrdiff_t n_inside,
                           int is_channels_last) {
    enum { H = 8, W = 40, ROWS = H + 2, MAX = W + 4 };
    const ptrdiff_t size = type_bytes[from], n_columns = n_inside + 4, pitch = n_columns + 3;
    const ptrdiff_t pixel = is_channels_last ? n_channels : 1, plane = is_channels_last ? 1 : H * W;
    array_t src = new_array(from, n_channels * H * W);
    ptrdiff_t rows[ROWS], columns[MAX];
    rows[0] = rows[ROWS - 1] = FC_PAD;
    for (ptrdiff_t i = 0; i < H; i++) rows[i + 1] = i * W * pixel * size;
    for (ptrdiff_t j = 0; j < n_columns; j++) {
        const ptrdiff_t inside = j - 2, column = every > 0 ? every * inside : W - 1 + every * inside;
        columns[j] = inside >= 0 && inside < n_inside ? column * pixel * size : FC_PAD;
    }
    columns[n_columns - 1] = 5 * pixel * size; /* an image's sample as padding: reflect and so on */
    const fc_window_t window = {ROWS, n_columns, pitch, rows, columns, 2, 2 + n_inside,
                                every * pixel * size};
    array_t fill = new_array(type, 1), dst = new_array(type, n_channels * ROWS * pitch);
    array_t before = copy_of(dst);
    kernels->stage[from](&window, src.data, n_channels, plane * size, fill.data, dst.data,
                         ROWS * pitch);
    int right = 1;
    for (ptrdiff_t c = 0; c < n_channels; c++)
        for (ptrdiff_t i = 0; i < ROWS; i++)
            for (ptrdiff_t j = 0; j < pitch; j++) {
                const ptrdiff_t place = (c * ROWS + i) * pitch + j;
                if (j >= n_columns) {
                    right &= is_equal(type, at(dst, place), get(type, at(before, place)));
                } else if (rows[i] == FC_PAD || columns[j] == FC_PAD) {
                    right &= is_equal(type, at(dst, place), get(type, fill.data));
                } else {
                    const char *source = src.data + c * plane * size + rows[i] + columns[j];
                    right &= is_equal(type, at(dst, place), get(from, source));
                }
            }
    report(right, "%s stage %s: %d channels, every %d of %d columns, channels %s", kernels->name,
           type_names[from], (int)n_channels, (int)every, (int)n_inside,
           is_channels_last ? "last" : "first");
    release(src), release(fill), release(dst), release(before);
}

static void test_stage(const fc_kernels_t *kernels, fc_type_t type) {
    static const ptrdiff_t channels[] = {1, 2, 5, 8, 17, 35};
    for (int from = 0; from < FC_N_TYPES; from++) {
        if (!kernels->stage[from]) continue;
        for (ptrdiff_t every = -2; every <= 3; every++) {
            for (ptrdiff_t n_inside = every ? 0 : 99; n_inside <= 40 / labs(every ? every : 1); n_inside++)
                test_one_stage(kernels, type, from, 2, every, n_inside, 0);
        }
        for (int c = 0; c < COUNT(channels); c++) {
            test_one_stage(kernels, type, from, channels[c], 1, 37, 1);
            test_one_stage(kernels, type, from, channels[c], 2, 13, 1);
            test_one_stage(kernels, type, from, channels[c], -1, 2, 1);
        }
    }
}

/* Columns lo .. hi side by side in x, the others from a table or constant. */
static void test_split(const fc_kernels_t *kernels, fc_type_t type) {
    const ptrdiff_t size = type_bytes[type];
    for (ptrdiff_t n = 1; n <= 75; n++) {
        for (ptrdiff_t lo = 0; lo <= 3 && lo <= n; lo++) {
            const ptrdiff_t hi = n - lo * (n % 3) < lo ? lo : n - lo * (n % 3), width = hi - lo;
            const ptrdiff_t pitch = (n + 1) / 2 + 1, odd_plane = 3 * pitch;
            const ptrdiff_t row_bytes[3] = {0, FC_PAD, (width + 1) * size};
            ptrdiff_t column_bytes[75];
            for (ptrdiff_t j = 0; j < n; j++)
                column_bytes[j] = j >= lo && j < hi ? (j - lo) * size : j % 2 ? FC_PAD : 0;
            array_t src = new_array(type, 2 * width + 2), fill = new_array(type, 1);
            array_t dst = new_array(type, 2 * odd_plane), expected = copy_of(dst);
            for (ptrdiff_t i = 0; i < 3; i++) {
                for (ptrdiff_t j = 0; j < n; j++) {
                    const int is_pad = row_bytes[i] == FC_PAD || column_bytes[j] == FC_PAD;
                    const void *from = is_pad ? fill.data : src.data + row_bytes[i] + column_bytes[j];
                    set(expected, (j & 1 ? odd_plane : 0) + i * pitch + j / 2, get(type, from));
                }
            }
            const fc_window_t win = {.n_rows = 3, .n_columns = n, .pitch = pitch,
                                     .row_bytes = row_bytes, .column_bytes = column_bytes,
                                     .lo = lo, .hi = hi, .step_bytes = size};
            kernels->split(&win, src.data, fill.data, dst.data, odd_plane);
            report(same(dst, expected), "%s split n=%d lo=%d hi=%d", kernels->name, (int)n, (int)lo,
                   (int)hi);
            release(src), release(fill), release(dst), release(expected);
        }
    }
}

static void test_store(const fc_kernels_t *kernels, fc_type_t type) {
    enum { ROWS = 3 };
    for (int to = 0; to < FC_N_TYPES; to++) {
        if (!kernels->store[to]) continue;
        const ptrdiff_t size = type_bytes[to];
        for (ptrdiff_t n = 0; n <= 37; n++) {
            for (ptrdiff_t every = 1; every <= 3; every++) {
                for (int has_bias = 0; has_bias <= 1; has_bias++) {
                    const ptrdiff_t ldc = n + 2, row = (n + 1) * every;
                    const ptrdiff_t rows[ROWS] = {2 * row * size, 0, row * size};
                    array_t c = new_array(type, ROWS * ldc), bias = new_array(type, ROWS);
                    array_t y = new_array(to, ROWS * row), expected = copy_of(y);
                    for (ptrdiff_t i = 0; i < ROWS; i++)
                        for (ptrdiff_t j = 0; j < n; j++) {
                            number_t v = get(type, at(c, i * ldc + j));
                            const number_t b = get(type, at(bias, i));
                            if (has_bias) v.integer += b.integer, v.real += b.real;
                            put(to, expected.data + rows[i] + j * every * size, v);
                        }
                    kernels->store[to](c.data, ldc, ROWS, n, has_bias ? bias.data : NULL, y.data, rows,
                                       every * size);
                    report(same(y, expected), "%s store %s n=%d every %d bias=%d", kernels->name,
                           type_names[to], (int)n, (int)every, has_bias);
                    release(c), release(bias), release(y), release(expected);
                }
            }
        }
    }
}

static void test_add(const fc_kernels_t *kernels, fc_type_t type) {
    for (ptrdiff_t n = 0; n <= 70; n++) {
        array_t src = new_array(type, n), dst = new_array(type, n), expected = copy_of(dst);
        for (ptrdiff_t i = 0; i < n; i++) {
            number_t sum = get(type, at(dst, i));
            const number_t v = get(type, at(src, i));
            sum.integer += v.integer, sum.real += v.real;
            set(expected, i, sum);
        }
        kernels->add(n, src.data, dst.data);
        report(same(dst, expected), "%s add n=%d", kernels->name, (int)n);
        release(src), release(dst), release(expected);
    }
}

/* ---- float16 ------------------------------------------------------------------------------- */

/* Every binary16 to float. */
static void test_from_half(const fc_kernels_t *kernels, fc_type_t type) {
    enum { N = 1 << 16 };
    array_t src = new_array(FC_F16, N), dst = new_array(type, N);
    ptrdiff_t row = 0, *columns = malloc(N * sizeof *columns);
    for (ptrdiff_t i = 0; i < N; i++) {
        const uint16_t bits = (uint16_t)i;
        memcpy(at(src, i), &bits, 2);
        columns[i] = 2 * i;
    }
    const fc_window_t window = {1, N, N, &row, columns, 0, N, 2};
    kernels->stage[FC_F16](&window, src.data, 1, 0, dst.data, dst.data, N);
    int n_wrong = 0;
    for (ptrdiff_t i = 0; i < N; i++) n_wrong += !is_equal(type, at(dst, i), get(FC_F16, at(src, i)));
    report(n_wrong == 0, "%s: %d of all float16 are read wrongly", kernels->name, n_wrong);
    release(src), release(dst), free(columns);
}

/* To binary16: each of them, the middle to the next one, and the floats beside both. */
static void test_to_half(const fc_kernels_t *kernels) {
    enum { N = 6 << 16 };
    array_t c = new_array(FC_F32, N), y = new_array(FC_F16, N);
    for (ptrdiff_t i = 0; i < N; i++) {
        const uint16_t bits = (uint16_t)(i / 6);
        const double value = half_value(bits);
        const double next = (bits & 0x7fff) == 0x7bff ? copysign(65536, value) : half_value(bits + 1);
        float v = (float)(i % 6 < 3 ? value : (value + next) / 2);
        if (i % 3 == 1) v = nextafterf(v, INFINITY);
        if (i % 3 == 2) v = nextafterf(v, -INFINITY);
        memcpy(at(c, i), &v, 4);
    }
    const ptrdiff_t row = 0;
    kernels->store[FC_F16](c.data, N, 1, N, NULL, y.data, &row, 2);
    int n_wrong = 0;
    for (ptrdiff_t i = 0; i < N; i++) n_wrong += !is_equal(FC_F16, at(y, i), get(FC_F32, at(c, i)));
    report(n_wrong == 0, "%s: %d float16 are written wrongly", kernels->name, n_wrong);
    release(c), release(y);
}

/* ---- winograd ------------------------------------------------------------------------------ */

static double window_value(const fc_window_t *win, array_t x, ptrdiff_t plane, array_t fill, ptrdiff_t i,
                           ptrdiff_t j) {
    const int is_fill = win->row_bytes[i] == FC_PAD || win->column_bytes[j] == FC_PAD;
    return get(x.type, is_fill ? fill.data : at(x, plane) + win->row_bytes[i] + win->column_bytes[j]).real;
}

typedef struct {
    const char *name;
    ptrdiff_t mh, mw, rh, rw;
} winograd_shape_t;
#define SHAPE(NAME, MH, MW, RH, RW) {#NAME, MH, MW, RH, RW},
static const winograd_shape_t winograd_shapes[] = {FC_EACH_WINOGRAD_FORM(SHAPE)};

/* With vectors along 3 filters, bit by bit what u [point][3][padded], products [point][3][nr] and out have. */
static int is_same_filterwise(const fc_kernels_t *kernel, fc_type_t type, int form, ptrdiff_t n_tiles,
                              ptrdiff_t n_channels, array_t w, array_t u, array_t products, array_t out) {
    const winograd_shape_t shape = winograd_shapes[form];
    const ptrdiff_t mh = shape.mh, mw = shape.mw, taps = shape.rh * shape.rw;
    const ptrdiff_t points = (mh + shape.rh - 1) * (mw + shape.rw - 1);
    const ptrdiff_t lanes = kernel->lanes, nv = (3 + lanes - 1) / lanes;
    const ptrdiff_t nf = nv * lanes, padded = u.n / (3 * points), nr = products.n / (3 * points);
    array_t turned_u = new_array(type, points * n_channels * nf), bias = new_array(type, nf);
    array_t turned = new_array(type, points * n_tiles * nf), turned_out = new_array(type, mh * mw * n_tiles * nf);
    int is_same = 1;
    for (ptrdiff_t c = 0; c < n_channels; c++)
        kernel->winograd[form].weights(at(w, c * taps), 3, n_channels * taps, at(w, w.n),
                                       at(turned_u, c * nf), n_channels * nf);
    for (ptrdiff_t p = 0; p < points; p++) {
        for (ptrdiff_t f = 0; f < 3; f++) {
            for (ptrdiff_t c = 0; c < n_channels; c++)
                is_same &= get(type, at(turned_u, (p * n_channels + c) * nf + f)).real ==
                           get(type, at(u, (p * 3 + f) * padded + c)).real;
            for (ptrdiff_t t = 0; t < n_tiles; t++)
                set(turned, (p * n_tiles + t) * nf + f, get(type, at(products, (p * 3 + f) * nr + t)));
        }
    }
    for (int has_bias = 0; has_bias < 2; has_bias++) {
        kernel->winograd[form].output_filterwise(turned.data, n_tiles * nf, n_tiles, nv,
                                                 has_bias ? bias.data : NULL, turned_out.data);
        for (ptrdiff_t k = 0; k < 3 * mh * mw * n_tiles; k++) {
            const ptrdiff_t f = k % 3, j = k / 3 % (mw * n_tiles), i = k / 3 / (mw * n_tiles);
            number_t want = get(type, at(out, (f * mh + i) * mw * nr + j));
            if (has_bias) want.real += get(type, at(bias, f)).real;
            if (type == FC_F32) want.real = (float)want.real;
            is_same &= get(type, at(turned_out, (i * mw * n_tiles + j) * nf + f)).real == want.real;
        }
    }
    release(turned_u), release(bias), release(turned), release(turned_out);
    return is_same;
}

/* A row of tiles through all kernels of a form but the matrix product, which is a plain loop here. The
 * transforms of 6 points have 11/8 and its powers in them, so sums are compared to 2^-12. */
static void test_one_winograd(const fc_kernels_t *kernel, fc_type_t type, int form, ptrdiff_t n_tiles,
                          ptrdiff_t n_channels, ptrdiff_t lo, ptrdiff_t n_right) {
    const winograd_shape_t shape = winograd_shapes[form];
    const ptrdiff_t mh = shape.mh, mw = shape.mw, rw = shape.rw, taps = shape.rh * rw;
    const ptrdiff_t ah = mh + shape.rh - 1, aw = mw + rw - 1, points = ah * aw;
    const ptrdiff_t n_columns = mw * n_tiles + rw - 1, rows = 3, above = ah > 1;
    const ptrdiff_t lanes = kernel->lanes, nv = (n_tiles + lanes - 1) / lanes, nr = nv * lanes;
    const ptrdiff_t width = n_columns - lo - n_right, pitch = mw * nr + rw - 1 + lanes;
    const ptrdiff_t padded = (n_channels + lanes - 1) / lanes * lanes, item = type_bytes[type];
    const ptrdiff_t plane = (ah - above) * width;
    array_t x = new_array(type, n_channels * plane), w = new_array(type, rows * n_channels * taps);
    array_t u = new_array(type, points * rows * padded), v = new_array(type, points * n_channels * nr);
    array_t sums = new_array(type, (2 * ah + 2) * pitch), fill = new_array(type, 1);
    array_t scale = new_array(type, n_channels);
    array_t products = new_array(type, points * rows * nr), out = new_array(type, rows * mh * mw * nr);
    ptrdiff_t row_bytes[6], *column_bytes = malloc((size_t)n_columns * sizeof *column_bytes);
    const fc_window_t win = {ah, n_columns, pitch, row_bytes, column_bytes, lo, lo + width, item};
    const number_t zero = {0, 0}, two = {2, 2};
    int is_right = 1;
    if (!column_bytes) abort();
    for (ptrdiff_t c = 0; c < n_channels; c++) set(scale, c, two);
    for (ptrdiff_t i = 0; i < ah; i++) row_bytes[i] = i < above ? FC_PAD : (i - above) * width * item;
    for (ptrdiff_t j = 0; j < n_columns; j++)
        column_bytes[j] = j < lo ? FC_PAD : j < lo + width ? (j - lo) * item : 0; /* right: column 0 */
    for (ptrdiff_t i = 0; i < sums.n; i++) set(sums, i, zero);

    for (ptrdiff_t f = 0; f < rows; f++)
        kernel->winograd[form].weights(at(w, f * n_channels * taps), n_channels, taps, at(w, w.n),
                                       at(u, f * padded), rows * padded);
    kernel->winograd[form].input(&win, x.data, n_channels, plane * item, fill.data, scale.data, v.data, nr,
                                 n_channels * nr, nr, nr, sums.data);
    for (ptrdiff_t p = 0; p < points; p++) {
        for (ptrdiff_t f = 0; f < rows; f++) {
            for (ptrdiff_t t = 0; t < nr; t++) {
                number_t sum = zero;
                for (ptrdiff_t c = 0; c < n_channels; c++)
                    multiply_add(&sum, u, (p * rows + f) * padded + c, v, (p * n_channels + c) * nr + t);
                set(products, (p * rows + f) * nr + t, sum);
            }
        }
    }
    kernel->winograd[form].output(products.data, rows * nr, rows, nv, out.data);
    is_right &= is_same_filterwise(kernel, type, form, n_tiles, n_channels, w, u, products, out);

    for (ptrdiff_t f = 0; f < rows; f++) {
        for (ptrdiff_t i = 0; i < mh; i++) {
            for (ptrdiff_t j = 0; j < mw * n_tiles; j++) {
                double sum = 0;
                for (ptrdiff_t k = 0; k < taps * n_channels; k++) {
                    const ptrdiff_t c = k / taps, row = i + k % taps / rw, column = j + k % rw;
                    sum += window_value(&win, x, c * plane, fill, row, column) *
                           get(type, at(w, f * n_channels * taps + k)).real;
                }
                const double got = get(type, at(out, (f * mh + i) * mw * nr + j)).real;
                is_right &= fabs(got - sum) <= (aw == 4 ? 0 : ldexp(64.0 * (double)(taps * n_channels), -18));
            }
        }
    }
    for (ptrdiff_t t = 0; t < n_tiles; t++) { /* whole numbers: but for roots, sums are exact */
        double energy = 0, most = 0;
        for (ptrdiff_t c = 0; c < n_channels; c++) {
            double of_channel = 0;
            for (ptrdiff_t i = 0; i < ah; i++) {
                for (ptrdiff_t j = mw * t; j < mw * t + aw; j++) {
                    const double twice = 2 * window_value(&win, x, c * plane, fill, i, j);
                    of_channel += twice * twice;
                }
            }
            energy += of_channel;
            most = of_channel > most ? of_channel : most;
        }
        is_right &= get(type, at(sums, 2 * ah * pitch + t)).real == energy;
        is_right &= get(type, at(sums, (2 * ah + 1) * pitch + t)).real == most;
    }
    for (ptrdiff_t i = 0; i < ah; i++) {
        for (ptrdiff_t j = 0; j < n_columns; j++) {
            double sum = 0, roots = 0;
            for (ptrdiff_t c = 0; c < n_channels; c++) {
                const double twice = fabs(2 * window_value(&win, x, c * plane, fill, i, j));
                sum += twice;
                roots += sqrt(twice);
            }
            const double got = get(type, at(sums, (ah + i) * pitch + j)).real;
            is_right &= get(type, at(sums, i * pitch + j)).real == sum;
            is_right &= got >= roots * (1 - 1e-5) && got <= roots * 1.0607 + 1e-10;
        }
    }
    report(is_right, "%s winograd %s: %td tiles, %td channels, padding %td, %td", kernel->name, shape.name,
           n_tiles, n_channels, lo, n_right);
    free(column_bytes);
    release(x), release(w), release(u), release(v), release(sums), release(fill);
    release(products), release(out), release(scale);
}

static void test_winograd_row_of(const fc_kernels_t *kernel, int form, array_t w, array_t inverse,
                                 ptrdiff_t n_taps, double least, double most, const char *remark) {
    double taps[25] = {0}, inverses[25] = {0}, fourth = 0, square = 0, raised = 0;
    fc_winograd_row_t row;
    kernel->winograd[form].row(w.data, inverse.data, w.n / n_taps, 0.5, &row);
    for (ptrdiff_t i = 0; i < w.n; i++) {
        const double v = fabs(get(w.type, at(w, i)).real * get(w.type, at(inverse, i)).real) / row.size;
        taps[i % n_taps] += v;
        inverses[i % n_taps] += 1 / (v < 0.5 ? 0.5 : v);
        square += v * v;
        fourth += v * v * v * v;
        raised += v < 0.5 ? (0.5 - v) * (0.5 - v) : 0;
    }
    int is_right = square >= least * (double)w.n && square <= most * (double)w.n;
    is_right &= fabs(row.raised - raised) < 1e-5 * fmax(1, raised);
    is_right &= fabs(row.fourth / fourth - 1) < 1e-5;
    for (ptrdiff_t k = 0; k < n_taps; k++) {
        is_right &= fabs(row.taps[k] / taps[k] - 1) < 1e-5;
        is_right &= row.inverses[k] >= inverses[k] * (1 - 1e-5) && row.inverses[k] <= inverses[k] * 1.1251;
    }
    report(is_right, "%s winograd row%s", kernel->name, remark);
}

/* What is measured of w, whose channels are of two sizes and which has a zero. */
static void test_winograd_row(const fc_kernels_t *kernel, fc_type_t type, int form) {
    const ptrdiff_t n_taps = winograd_shapes[form].rh * winograd_shapes[form].rw;
    const ptrdiff_t n_channels = 2 * kernel->lanes + 3, n = n_taps * n_channels;
    array_t w = new_array(type, n), scale = new_array(type, n_channels), inverse = new_array(type, n);
    fc_winograd_row_t row;
    int is_right = 1;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double v = i / n_taps % 2 ? 4 : 1;
        set(w, i, (number_t){.real = i % 2 ? v : -v});
    }
    kernel->winograd[form].scale(w.data, 1, n, n_channels, scale.data, inverse.data);
    for (ptrdiff_t c = 0; c < n_channels; c++) {
        is_right &= get(type, at(scale, c)).real == (c % 2 ? 1 : 0.25);
        is_right &= get(type, at(inverse, n_taps * (c + 1) - 1)).real == (c % 2 ? 1 : 4);
    }
    report(is_right, "%s winograd scale", kernel->name);

    set(w, n - 1, (number_t){.real = 0});
    test_winograd_row_of(kernel, form, w, inverse, n_taps, 0.88, 1.01, "");
    /* The first weights tell the size of a row, unless it is none or far from that of all. */
    const double others[] = {0, 1.0 / 64, 64, INFINITY};
    for (int t = 0; t < COUNT(others); t++) {
        const int is_kept = others[t] == 64;
        for (ptrdiff_t i = 0; i < n_taps * kernel->lanes; i++)
            set(w, i, (number_t){.real = i % 2 ? others[t] : -others[t]});
        if (!isinf(others[t]))
            test_winograd_row_of(kernel, form, w, inverse, n_taps, is_kept ? 0.25 : 0.88, is_kept ? 4 : 1.01,
                                 " of unlike parts");
    }
    kernel->winograd[form].row(w.data, inverse.data, n_channels, 0.5, &row);
    report(isinf(row.size), "%s winograd row: infinity first", kernel->name);
    for (ptrdiff_t i = 0; i < n; i++) set(w, i, (number_t){.real = 1});
    set(w, 5, (number_t){.real = INFINITY});
    kernel->winograd[form].row(w.data, inverse.data, n_channels, 0.5, &row);
    report(isinf(row.size), "%s winograd row: infinity", kernel->name);
    for (ptrdiff_t i = 0; i < n; i++) set(w, i, (number_t){.real = 0});
    kernel->winograd[form].row(w.data, inverse.data, n_channels, 0.5, &row);
    report(row.size == 0, "%s winograd row: zeros", kernel->name);
    release(w), release(scale), release(inverse);
}

/* What the guard makes of x = 1, of large numbers in a tile, of few large roots, and of a dark place. */
static void test_winograd_guard(const fc_kernels_t *kernel, fc_type_t type) {
    const ptrdiff_t a = 6, pitch = 14 + kernel->lanes;
    array_t sums = new_array(type, (2 * a + 2) * pitch);
    unsigned char spoiled[3] = {0};
    const number_t one = {1, 1}, two = {2, 2}, none = {0, 0};
    fc_winograd_bounds_t bounds = {.share = 0.5, .smallest = 1e-30, .greatest = 1e30};
    for (int k = 0; k < 9; k++) bounds.taps[k] = bounds.roots[k] = 1.0 / 8;
    for (ptrdiff_t i = 0; i < sums.n; i++) set(sums, i, one);
    kernel->winograd[FC_WINOGRAD_4x4_3x3].guard(&bounds, sums.data, pitch, 4, 12, spoiled);
    report(!spoiled[0] && !spoiled[1] && !spoiled[2], "%s winograd guard: even", kernel->name);
    set(sums, (2 * a + 1) * pitch + 2, two);
    kernel->winograd[FC_WINOGRAD_4x4_3x3].guard(&bounds, sums.data, pitch, 4, 12, spoiled);
    report(!spoiled[0] && !spoiled[1] && spoiled[2], "%s winograd guard: large numbers", kernel->name);
    set(sums, (2 * a + 1) * pitch + 2, one);
    memset(spoiled, 0, sizeof spoiled);
    for (ptrdiff_t i = 0; i < 3; i++) set(sums, (a + i) * pitch + 6, none);
    kernel->winograd[FC_WINOGRAD_4x4_3x3].guard(&bounds, sums.data, pitch, 4, 12, spoiled);
    report(!spoiled[0] && spoiled[1] && !spoiled[2], "%s winograd guard: small roots", kernel->name);
    memset(spoiled, 0, sizeof spoiled);
    for (ptrdiff_t i = 0; i < 3; i++) set(sums, (a + i) * pitch + 6, one);
    for (ptrdiff_t i = 0; i < 3; i++) {
        for (ptrdiff_t j = 0; j < 3; j++) set(sums, i * pitch + j, none);
    }
    kernel->winograd[FC_WINOGRAD_4x4_3x3].guard(&bounds, sums.data, pitch, 4, 12, spoiled);
    report(spoiled[0] && !spoiled[1] && !spoiled[2], "%s winograd guard: a dark place", kernel->name);
    release(sums);
}

static void test_winograd(const fc_kernels_t *kernel, fc_type_t type) {
    for (int form = 0; form < FC_WINOGRAD_N_FORMS; form++) {
        const ptrdiff_t m = winograd_shapes[form].mw;
        for (ptrdiff_t n = 1; n <= 2 * kernel->lanes + 1; n += n < 4 || kernel->lanes < 4 ? 1 : kernel->lanes - 2) {
            const ptrdiff_t n_columns = m * n + winograd_shapes[form].rw - 1;
            if (n_columns > 2) test_one_winograd(kernel, type, form, n, 1, 1, 1);
            test_one_winograd(kernel, type, form, n, kernel->lanes + 1, 0, 0);
            if (n > 1 && n_columns > m + 2) test_one_winograd(kernel, type, form, n, 2, m, 2);
        }
    }
    test_winograd_row(kernel, type, FC_WINOGRAD_4x4_3x3);
    test_winograd_row(kernel, type, FC_WINOGRAD_2x2_5x5);
    test_winograd_row(kernel, type, FC_WINOGRAD_1x4_1x3);
    test_winograd_guard(kernel, type);
}

/* A strip of an image of n + kh - 1 rows, of which `begin` to `end` exist; lanes of an edge are masked,
 * and what lies behind the mask is not a number. */
static void test_one_sweep(const fc_kernels_t *kernels, fc_type_t type, int kh, int nv, int edges) {
    const ptrdiff_t lanes = kernels->lanes, n = 2 * kh + 1, kw = 3 + 2 * (kh == 3 && nv % 2);
    const ptrdiff_t n_lanes = nv == 1 ? lanes - 1 : lanes, width = (nv - 1) * lanes + n_lanes;
    const ptrdiff_t pitch = nv * lanes + kw, ldc = width + 2, n_rows = n + kh - 1;
    for (int part = 0; part < (edges && nv <= FC_BESIDE_VECTORS ? 4 : 3); part++) {
        const ptrdiff_t begin = part ? kh - 1 : 0, end = n_rows - (part > 1 ? kh - 1 : 0);
        ptrdiff_t column[5], row_bytes[2 * (3 * FC_STENCIL_MAX_HEIGHT)];
        uint16_t inside[5 * FC_STENCIL_MAX_VECTORS];
        fc_beside_t beside[5 * FC_STENCIL_MAX_VECTORS];
        array_t x = new_array(type, n_rows * pitch);
        array_t w = new_array(type, kh * kw), bias = new_array(type, 1);
        array_t c = new_array(type, n * ldc), expected = copy_of(c);
        for (ptrdiff_t i = 0; i < n_rows; i++) { /* from the last one to the first */
            row_bytes[2 * i] = (n_rows - 1 - i) * pitch * type_bytes[type];
            row_bytes[2 * i + 1] = PTRDIFF_MAX;
        }
        for (ptrdiff_t kx = 0; kx < kw; kx++) {
            column[kx] = kx;
            for (int v = 0; v < nv; v++) {
                const int is_edge = edges == FC_ALL_EDGES || (edges & FC_FIRST_EDGE && v == 0) ||
                                    (edges & FC_LAST_EDGE && v == nv - 1);
                const unsigned all = (1u << lanes) - 1;
                fc_beside_t *others = beside + kx * FC_STENCIL_MAX_VECTORS + v;
                inside[kx * FC_STENCIL_MAX_VECTORS + v] =
                    (uint16_t)(is_edge ? all & (kx % 2 ? ~1u : all >> 1) : all);
                /* The last lane is out of reach where the row ends with it. */
                others->from = pitch - lanes + (kx + v) % 2;
                others->reach = (uint16_t)(all >> (kx + v) % 2);
                for (ptrdiff_t j = 0; j < lanes; j++)
                    others->lane[j] = (uint8_t)((3 * j + kx) % (lanes - 1));
            }
        }
        for (ptrdiff_t r = 0; r < n; r++) {
            for (ptrdiff_t j = 0; j < width; j++) {
                number_t sum = {0};
                for (ptrdiff_t ky = 0; ky < kh; ky++) {
                    for (ptrdiff_t kx = 0; kx < kw; kx++) {
                        const ptrdiff_t edge = kx * FC_STENCIL_MAX_VECTORS + j / lanes;
                        ptrdiff_t at = column[kx] + j;
                        if (r + ky < begin || r + ky >= end) continue;
                        if (!(inside[edge] >> j % lanes & 1)) {
                            if (part < 3) continue;
                            at = beside[edge].from + beside[edge].lane[j % lanes];
                        }
                        multiply_add(&sum, w, ky * kw + kx, x, (n_rows - 1 - r - ky) * pitch + at);
                    }
                }
                if (part) add_number(&sum, bias, 0);
                set(expected, r * ldc + j, sum);
            }
        }
        const fc_sweep_t strip = {
            .n = n, .begin = begin, .end = end, .row_step = 2, .kw = kw, .ldw = kw, .ldc = ldc,
            .last = (nv - 1) * lanes, .lanes = n_lanes, .row_bytes = row_bytes, .column = column,
            .inside = inside, .beside = beside, .edges = edges | (part < 3 ? 0 : FC_BESIDE)};
        kernels->sweep[kh][nv](&strip, x.data, w.data, part ? bias.data : NULL, c.data);
        report(same(c, expected), "%s sweep height=%d vectors=%d edges=%d part=%d", kernels->name, kh,
               nv, edges, part);
        release(x), release(w), release(bias), release(c), release(expected);
    }
}

/* Kernels of kh x kw taps over rows x columns products, seen from `top` and `left`. */
static void test_one_fold(const fc_kernels_t *kernels, fc_type_t type, ptrdiff_t rows, ptrdiff_t columns,
                          ptrdiff_t kh, ptrdiff_t kw, ptrdiff_t top, ptrdiff_t left, ptrdiff_t dilation) {
    const ptrdiff_t lanes = kernels->lanes, plane = rows * columns + 3;
    const ptrdiff_t n_rows = rows + (kh - 1) * dilation + 1 - top, n_columns = columns + (kw - 1) * dilation + 1 - left;
    const fc_fold_t s = {n_rows, n_columns, (n_columns + lanes - 1) / lanes * lanes, kh, kw,
                         kw * plane, plane, rows, columns, top, left, dilation, dilation};
    array_t p = new_array(type, 2 * lanes + kh * kw * plane), c = new_array(type, n_rows * s.ldc);
    array_t expected = new_array(type, n_rows * s.ldc);
    for (ptrdiff_t i = 0; i < n_rows * s.ldc; i++) {
        const ptrdiff_t r = i / s.ldc, j = i % s.ldc;
        number_t sum = {0, 0};
        for (ptrdiff_t k = 0; k < kh * kw; k++) {
            const ptrdiff_t row = r + top - k / kw * dilation, column = j + left - k % kw * dilation;
            if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
            sum.real += get(type, at(p, lanes + k * plane + row * columns + column)).real;
        }
        set(expected, i, sum);
    }
    kernels->fold(&s, (char *)p.data + lanes * kernels->item_bytes, c.data);
    for (ptrdiff_t i = 0; i < n_rows * s.ldc; i++) /* what is written behind the columns is free */
        if (i % s.ldc >= n_columns) set(expected, i, get(type, at(c, i)));
    report(same(c, expected), "%s fold %tdx%td of %tdx%td from %td, %td, dilation %td", kernels->name,
           kh, kw, rows, columns, top, left, dilation);
    release(p), release(c), release(expected);
}

static void test_fold(const fc_kernels_t *kernels, fc_type_t type) {
    report(!kernels->fold == !is_float(type), "%s fold is there for floats", kernels->name);
    for (ptrdiff_t columns = 1; columns <= 2 * kernels->lanes + 1 && kernels->fold; columns++) {
        test_one_fold(kernels, type, 3, columns, 2, 3, 0, 0, 1);
        test_one_fold(kernels, type, 1, columns, 5, 4, 2, 1, 1);
        test_one_fold(kernels, type, 4, columns, 3, 3, 3, columns, 2);
        test_one_fold(kernels, type, 2, columns, 1, 40, 0, 19, 1);
    }
}

static void test_sweep(const fc_kernels_t *kernels, fc_type_t type) {
    for (int kh = 0; kh <= FC_STENCIL_MAX_HEIGHT; kh++)
        for (int nv = 1; nv <= FC_STENCIL_MAX_VECTORS; nv++)
            for (int edges = 0; edges <= FC_ALL_EDGES && kernels->sweep[kh][nv]; edges++)
                test_one_sweep(kernels, type, kh, nv, nv == 1 && edges ? FC_ALL_EDGES : edges);
}

/* ---- winograd, the weight gradient --------------------------------------------------------- */

/* The sums over a tile of x, channel j, and of dy, all rows and columns that tap k has them meet. */
static double tap_of_tile(array_t x, array_t dy, ptrdiff_t x_pitch, ptrdiff_t dy_pitch, ptrdiff_t tile,
                          ptrdiff_t lanes, ptrdiff_t j, ptrdiff_t f, int k, int absolute) {
    double sum = 0;
    for (ptrdiff_t i = 0; i < 16; i++) {
        const ptrdiff_t row = i / 4, column = 4 * tile + i % 4;
        const double a = get(x.type, at(x, (row + k / 3) * x_pitch + (column + k % 3) * lanes + j)).real;
        const double b = get(dy.type, at(dy, row * dy_pitch + column * lanes + f)).real;
        sum += absolute ? fabs(a * b) : a * b;
    }
    return sum;
}

/* The sum of (2 * a)^2 over a tile of n x n. */
static double energy_of_tile(array_t a, ptrdiff_t n, ptrdiff_t pitch, ptrdiff_t tile, ptrdiff_t lanes,
                             ptrdiff_t j) {
    double sum = 0;
    for (ptrdiff_t i = 0; i < n * n; i++) {
        const double v = 2 * get(a.type, at(a, i / n * pitch + (4 * tile + i % n) * lanes + j)).real;
        sum += v * v;
    }
    return sum;
}

/* A row of tiles: channel 0 of dy with every channel of x, through all kernels but the matrix product.
 * The transforms hold 11/8 and its powers, so sums are compared to 2^-12 of those of absolute values. */
static void test_one_winograd_grad(const fc_kernels_t *kernel, fc_type_t type, ptrdiff_t n_tiles, int absolute) {
    enum { POINTS = 37 };
    const ptrdiff_t lanes = kernel->lanes, columns = 4 * n_tiles;
    const ptrdiff_t x_pitch = (columns + 2) * lanes + 3, dy_pitch = columns * lanes + 1;
    const ptrdiff_t tile_step = POINTS * lanes, tap_step = lanes + 2;
    array_t x = new_array(type, 5 * x_pitch + (columns + 2) * lanes);
    array_t dy = new_array(type, 3 * dy_pitch + columns * lanes);
    array_t tx = new_array(type, n_tiles * tile_step), tdy = copy_of(tx);
    array_t sums = new_array(type, POINTS * lanes), out = new_array(type, 9 * tap_step + lanes);
    array_t before = copy_of(out), limits = new_array(type, lanes);
    const number_t zero = {0, 0};
    for (ptrdiff_t i = 0; i < 6 * (columns + 2); i++) /* a channel of zeros, of either sign */
        set(x, i / (columns + 2) * x_pitch + i % (columns + 2) * lanes + lanes - 1, (number_t){.real = i % 2 ? -0.0 : 0});
    kernel->winograd_grad_x(x.data, x_pitch, n_tiles, 2, absolute, tx.data, tile_step, lanes);
    kernel->winograd_grad_dy(dy.data, dy_pitch, n_tiles, 2, absolute, tdy.data, tile_step, lanes);
    for (ptrdiff_t i = 0; i < POINTS * lanes; i++) {
        number_t sum = zero;
        for (ptrdiff_t t = 0; t < n_tiles; t++)
            multiply_add(&sum, tx, t * tile_step + i, tdy, t * tile_step + i / lanes * lanes);
        set(sums, i, sum);
    }
    int is_right = 1;
    for (ptrdiff_t t = 0; t < n_tiles; t++) {
        for (ptrdiff_t j = 0; j < lanes; j++) {
            const ptrdiff_t place = t * tile_step + 36 * lanes + j;
            is_right &= get(type, at(tx, place)).real == energy_of_tile(x, 6, x_pitch, t, lanes, j);
            is_right &= get(type, at(tdy, place)).real == energy_of_tile(dy, 4, dy_pitch, t, lanes, j);
        }
    }
    report(is_right, "%s winograd_grad energy of %td tiles, absolute=%d", kernel->name, n_tiles, absolute);

    for (int accumulate = 0; accumulate <= 1; accumulate++) {
        memcpy(out.data, before.data, (size_t)(out.n * type_bytes[type]));
        kernel->winograd_taps(sums.data, lanes, lanes, out.data, tap_step, 0, accumulate);
        is_right = 1;
        for (ptrdiff_t i = 0; i < 10 * lanes; i++) {
            const int k = (int)(i / lanes);
            const ptrdiff_t j = i % lanes, place = k * tap_step + j;
            double sum = accumulate ? get(type, at(before, place)).real : 0, size = fabs(sum);
            for (ptrdiff_t t = 0; t < n_tiles && k < 9; t++) {
                sum += tap_of_tile(x, dy, x_pitch, dy_pitch, t, lanes, j, 0, k, absolute);
                size += tap_of_tile(x, dy, x_pitch, dy_pitch, t, lanes, j, 0, k, 1);
            }
            if (k == 9) sum += get(type, at(sums, 36 * lanes + j)).real, size = fabs(sum);
            is_right &= fabs(get(type, at(out, place)).real - sum) <= ldexp(size, -12);
        }
        for (ptrdiff_t k = 0; k < 9; k++)
            is_right &= memcmp(at(out, k * tap_step + lanes), at(before, k * tap_step + lanes),
                               (size_t)(2 * type_bytes[type])) == 0;
        report(is_right, "%s winograd_taps of %td tiles, absolute=%d accumulate=%d", kernel->name, n_tiles,
               absolute, accumulate);
    }

    if (absolute) {
        const ptrdiff_t n = lanes - 1; /* without the channel of zeros; the growth is beyond some limits */
        ptrdiff_t n_beyond = 0;
        const double growth = 1e-3;
        const ptrdiff_t got = kernel->winograd_limits(sums.data, lanes, n, 0.5, growth, limits.data);
        is_right = 1;
        for (ptrdiff_t j = 0; j < lanes; j++) {
            double least = INFINITY;
            for (int k = 0; k < 9; k++) {
                double sum = 0;
                for (ptrdiff_t t = 0; t < n_tiles; t++)
                    sum += tap_of_tile(x, dy, x_pitch, dy_pitch, t, lanes, j, 0, k, 1);
                least = sum < least ? sum : least;
            }
            const double limit = get(type, at(limits, j)).real;
            is_right &= fabs(limit - least * least / 4) <= ldexp(least * least, -10);
            n_beyond += j < n && get(type, at(sums, 36 * lanes + j)).real * growth > limit;
        }
        report(is_right && got == n_beyond, "%s winograd_limits of %td tiles", kernel->name, n_tiles);
    }
    release(x), release(dy), release(tx), release(tdy), release(sums), release(out), release(before);
    release(limits);
}

/* The squares of the sums: a point by itself, with the largest of its three factors squared. */
static void test_winograd_squares(const fc_kernels_t *kernel, fc_type_t type) {
    const double points[5] = {0, 0.6875, -0.6875, 1.375, -1.375}, weight = 0.25;
    double largest[6] = {0, 0, 0, 0, 0, 1};
    const ptrdiff_t lanes = kernel->lanes;
    array_t sums = new_array(type, 37 * lanes), out = new_array(type, 10 * lanes);
    for (int p = 0; p < 5; p++) {
        double product = 1;
        for (int q = 0; q < 5; q++) product *= q == p ? 1 : points[p] - points[q];
        for (int i = 0; i < 3; i++) largest[p] = fmax(largest[p], fabs(pow(points[p], i) / product));
    }
    int is_right = 1;
    for (int p = 0; p < 36; p++) {
        for (ptrdiff_t i = 0; i < sums.n; i++) set(sums, i, (number_t){.real = i / lanes == p ? 3 : 0});
        kernel->winograd_taps(sums.data, lanes, lanes, out.data, lanes, weight, 0);
        const double factor = largest[p / 6] * largest[p % 6], expected = weight * 9 * factor * factor;
        is_right &= fabs(get(type, at(out, 9 * lanes)).real / expected - 1) < 1e-5;
    }
    report(is_right, "%s winograd_taps, squares", kernel->name);
    release(sums), release(out);
}

static void test_winograd_beyond(const fc_kernels_t *kernel, fc_type_t type) {
    /* energy, limit, whether that is beyond */
    const double huge = type == FC_F32 ? 2e36 : 2e300;
    const double rows[][3] = {{1, 2, 0}, {2, 2, 0}, {3, 2, 1}, {NAN, 2, 1}, {1, NAN, 1}, {INFINITY, 2, 1},
                              {1, INFINITY, 1}, {1, huge, 1}, {0, 0, 0}};
    const ptrdiff_t lanes = kernel->lanes, most = 3 * lanes;
    array_t energy = new_array(type, most), limits = copy_of(energy);
    unsigned char *is_beyond = malloc((size_t)most);
    if (!is_beyond) abort();
    for (ptrdiff_t i = 0; i < most; i++) {
        set(energy, i, (number_t){.real = rows[i % COUNT(rows)][0]});
        set(limits, i, (number_t){.real = rows[i % COUNT(rows)][1]});
    }
    for (ptrdiff_t n = 1; n <= most; n++) {
        ptrdiff_t n_beyond = 0;
        int is_right = 1;
        const ptrdiff_t got = kernel->winograd_beyond(energy.data, limits.data, n, is_beyond);
        for (ptrdiff_t i = 0; i < n; i++) {
            is_right &= is_beyond[i] == (rows[i % COUNT(rows)][2] != 0);
            n_beyond += is_beyond[i];
        }
        report(is_right && got == n_beyond, "%s winograd_beyond n=%td", kernel->name, n);
    }
    release(energy), release(limits), free(is_beyond);
}

static void test_winograd_grad(const fc_kernels_t *kernel, fc_type_t type) {
    for (ptrdiff_t n_tiles = 1; n_tiles <= 5; n_tiles++)
        for (int absolute = 0; absolute <= 1; absolute++)
            test_one_winograd_grad(kernel, type, n_tiles, absolute);
    test_winograd_squares(kernel, type);
    test_winograd_beyond(kernel, type);
}

/* ---- products of spectra ------------------------------------------------------------------- */

/* (re + i im) of a strip: the row's `lanes` real parts are followed by as many imaginary ones. */
static void multiply_conjugate(number_t *re, number_t *im, array_t a, array_t b, ptrdiff_t i, ptrdiff_t lanes) {
    number_t minus = {0, 0};
    multiply_add(re, a, i, b, i), multiply_add(re, a, i + lanes, b, i + lanes);
    multiply_add(im, a, i + lanes, b, i), multiply_add(&minus, a, i, b, i + lanes);
    im->real -= minus.real;
}

static void test_spectra(const fc_kernels_t *kernels, fc_type_t type) {
    enum { MOST = 2 * FC_FFT_SUMS + 1 };
    const ptrdiff_t lanes = kernels->lanes, row = 2 * lanes;
    for (ptrdiff_t n_rows = 4; n_rows <= 12; n_rows += 4) {
        array_t a[MOST], b[MOST];
        const void *a_data[MOST], *b_data[MOST];
        for (int t = 0; t < MOST; t++) {
            a[t] = new_array(type, row + n_rows * row), b[t] = new_array(type, row + n_rows * row);
            a_data[t] = a[t].data, b_data[t] = b[t].data;
        }
        for (ptrdiff_t n_terms = 1; n_terms <= MOST; n_terms++) {
            array_t out = new_array(type, row + n_rows * row), expected = copy_of(out);
            for (ptrdiff_t i = 0; i < n_rows * lanes; i++) {
                const ptrdiff_t place = row + i / lanes * row + i % lanes;
                number_t re = {0, 0}, im = {0, 0};
                for (ptrdiff_t t = 0; t < n_terms; t++) multiply_conjugate(&re, &im, a[t], b[t], place, lanes);
                set(expected, place, re), set(expected, place + lanes, im);
            }
            kernels->fft_dot(n_rows, n_terms, a_data, b_data, row * type_bytes[type], out.data);
            report(same(out, expected), "%s fft_dot of %td rows, %td terms", kernels->name, n_rows, n_terms);
            release(out), release(expected);
        }
        for (int accumulate = 0; accumulate <= 1; accumulate++) {
            array_t out = new_array(type, row + n_rows * row), expected = copy_of(out);
            for (ptrdiff_t i = 0; i < (n_rows + 1) * lanes; i++) {
                const ptrdiff_t place = i / lanes * row + i % lanes;
                number_t re = start(out, place, accumulate), im = start(out, place + lanes, accumulate);
                multiply_conjugate(&re, &im, a[0], b[0], place, lanes);
                set(expected, place, re), set(expected, place + lanes, im);
            }
            kernels->fft_multiply(n_rows + 1, a_data[0], b_data[0], out.data, accumulate);
            for (ptrdiff_t i = 0; i < out.n; i++) { /* products of zero leave it either sign */
                number_t v = get(type, at(out, i));
                v.real += 0.0;
                set(out, i, v);
            }
            report(same(out, expected), "%s fft_multiply of %td rows, accumulate=%d", kernels->name, n_rows + 1,
                   accumulate);
            release(out), release(expected);
        }
        for (int t = 0; t < MOST; t++) release(a[t]), release(b[t]);
    }
}

int main(void) {
    const fc_isa_t *isa = &JOIN(fc_isa_, FC_ISA);
    report(strcmp(isa->name, TEXT(FC_ISA)) == 0, "has the name %s", isa->name);
    for (int compute = 0; compute < FC_N_COMPUTE; compute++) {
        const fc_kernels_t *kernels = isa->kernels[compute];
        const fc_type_t type = compute_types[compute];
        double sink[64] = {0};
        report(kernels->item_bytes == type_bytes[type], "%s items", kernels->name);
        test_gemm(kernels, type);
        test_gemm_into(kernels, type);
        test_dot(kernels, type);
        test_gemm_dot(kernels, type);
        test_filterwise(kernels, type);
        test_is_finite(kernels, type);
        test_stencil(kernels, type);
        test_sweep(kernels, type);
        test_fold(kernels, type);
        test_pack(kernels, type);
        test_depthwise(kernels, type);
        test_depthwise_grad(kernels, type);
        test_interleave(kernels, type);
        test_stage(kernels, type);
        test_split(kernels, type);
        test_store(kernels, type);
        test_add(kernels, type);
        if (kernels->winograd[0].row) test_winograd(kernels, type);
        if (kernels->winograd_taps) test_winograd_grad(kernels, type);
        if (kernels->fft_dot) test_spectra(kernels, type);
        if (kernels->stage[FC_F16]) test_from_half(kernels, type);
        if (kernels->store[FC_F16]) test_to_half(kernels);
        report(kernels->peak(3, sink) > 0, "%s peak", kernels->name);
    }
    printf(TEXT(FC_ISA) ": %d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}
