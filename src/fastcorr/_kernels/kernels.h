/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The contract between the drivers (_algorithms, Cython) and the kernels (*.inc, C).
 *
 * A kernel is a pure function of pointers, counts and strides. It allocates nothing, knows nothing
 * of Python, OpenMP, padding modes or tiles, and keeps no state. Strides are in elements of the
 * compute type unless their name says bytes.
 *
 * The staged window
 * -----------------
 * Drivers copy the part of x that a tile of outputs needs into a window: padding resolved, dtype
 * converted, one plane per (channel, row phase, column phase). With stride s, phase p of an axis holds
 * the positions p, p + s, p + 2 s, ...; so for every kernel tap the inputs of neighbouring outputs
 * are neighbours in memory, whatever the stride and the dilation:
 *
 *       stride 1, 3x3                         stride 2, 3x3
 *       plane c:   pitch = OW + 2             planes (c, 0, 0) (c, 0, 1)   pitch = OW + 1
 *         x x x x x x x x                       x x x x    o o o o         taps 0 2 / tap 1
 *         x x x x x x x x                       x x x x    o o o o
 *         x x x x x x x x                     planes (c, 1, 0) (c, 1, 1)
 *                                               + + + +    * * * *
 *
 * gemm reads it without a packed copy: offset[k] leads from an output's place in the window to its
 * input under tap k = (c, ky, kx), and the vector there holds the inputs of `lanes` outputs:
 *
 *       b + offset[k]:   [ p0 p1 ... p15 | p16 ... p31 ]     one row of the "panel", NR = nv * lanes
 *       a[i * lda + k]:  one weight of output channel i, broadcast
 *       c[i * NR + j] (+)= sum over k of a[i * lda + k] * b[offset[k] + j]
 *
 * Where rows are too short to fill vectors, drivers gather them into a panel [k][NR] first, and
 * offset[k] = k * NR.
 *
 * Sums are blocked for accuracy: FC_K_BLOCK terms or so in registers, the blocks of one call in a
 * second level, the calls (accumulate = 1) in a third.
 */
#ifndef FASTCORR_KERNELS_H
#define FASTCORR_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define FC_GEMM_MAX_ROWS 14
#define FC_GEMM_MAX_VECTORS 4
#define FC_DOT_MAX_PIXELS 4
#define FC_GEMM_DOT_VECTORS 3
#define FC_FILTERWISE_MAX_VECTORS 2
#define FC_FILTERWISE_MAX_OUTPUTS 28
#define FC_FILTERWISE_MOST_APART 14 /* of them at a step of more than 2 */
#define FC_STENCIL_ROWS 4        /* output rows of a stencil block */
#define FC_STENCIL_TALL_ROWS 6   /* and of a tall one: more sums for each load, for higher kernels */
#define FC_STENCIL_MAX_HEIGHT 7  /* kernel heights that may have a stencil of their own; 0 is any from a block's rows on */
#define FC_STENCIL_MAX_VECTORS 4
#define FC_STENCIL_3X3_VECTORS 2 /* most for 3x3: they leave registers for the weights */
#define FC_DEPTHWISE_PIXELS 8    /* neighbouring outputs in registers */
#define FC_TAPS_ROWS 4           /* rows of dy that share the vectors of x */
#define FC_TAPS_MAX_HEIGHT 7
#define FC_TAPS_MAX_WIDTH 5
#define FC_K_BLOCK 128           /* terms of a sum kept in one register; twice that in long sums */
#define FC_PAD PTRDIFF_MIN       /* in row_bytes and column_bytes: the padding constant */

/* Element types of arrays. FC_F16 to FC_F64 order is that of source_types in dtypes.inc. */
typedef enum {
    FC_I8, FC_U8, FC_I16, FC_U16, FC_I32, FC_U32, FC_I64, FC_U64, FC_F16, FC_F32, FC_F64,
    FC_N_TYPES
} fc_type_t;

/* Types that kernels compute in: integers modulo 2^n, so signs do not matter. */
typedef enum { FC_COMPUTE_U32, FC_COMPUTE_U64, FC_COMPUTE_F32, FC_COMPUTE_F64, FC_N_COMPUTE } fc_compute_t;

/* Rows and columns of x that make one plane of a window. */
typedef struct {
    ptrdiff_t n_rows, n_columns, pitch;
    const ptrdiff_t *row_bytes;     /* [n_rows] from src, or FC_PAD */
    const ptrdiff_t *column_bytes;  /* [n_columns] from the row, or FC_PAD; read outside lo .. hi and at lo */
    ptrdiff_t lo, hi;               /* columns lo <= j < hi lie step_bytes apart */
    ptrdiff_t step_bytes;
} fc_window_t;

/* Copy a window of n_channels channels, converted, into dst. The channel after is fetched ahead. */
typedef void (*fc_stage_fn)(const fc_window_t *window, const char *src, ptrdiff_t n_channels,
                            ptrdiff_t channel_bytes, const void *fill, void *dst,
                            ptrdiff_t channel_step);

/* Copy one channel of the compute type under stride 2 in one pass: column j of the window goes to
 * place j / 2 of its row, in dst where j is even, in dst + odd_plane where it is odd. */
typedef void (*fc_split_fn)(const fc_window_t *window, const char *src, const void *fill, void *dst,
                            ptrdiff_t odd_plane);

/* One (m x NR) tile of c from k terms; see above. */
typedef void (*fc_gemm_fn)(ptrdiff_t k, const void *a, ptrdiff_t lda, const void *b,
                           const ptrdiff_t *offset, void *c, int accumulate);

/* The same into rows ldc apart, plus bias[i] unless that is NULL; of the last vector of a row only the
 * first `last` elements are written, and read. */
typedef void (*fc_gemm_into_fn)(ptrdiff_t k, const void *a, ptrdiff_t lda, const void *b,
                                const ptrdiff_t *offset, void *c, ptrdiff_t ldc, ptrdiff_t last,
                                const void *bias, int accumulate);

/* The same of FC_GEMM_DOT_VECTORS, and dot[i] (+)= sum over k of a[i * lda + k] * column[k], rounded
 * as by fc_dot_fn. */
typedef void (*fc_gemm_dot_fn)(ptrdiff_t k, const void *a, ptrdiff_t lda, const void *b,
                               const ptrdiff_t *offset, void *c, ptrdiff_t ldc, ptrdiff_t last,
                               const void *bias, const void *column, void *dot, int accumulate);

/* A few pixels that would fill no vector, with vectors along k instead; pixel j is column j of b,
 * gathered: c[i * ldc + j] (+)= sum over k of a[i * lda + k] * b[j * ldb + k], i < m, j < n */
typedef void (*fc_dot_fn)(ptrdiff_t k, ptrdiff_t m, const void *a, ptrdiff_t lda, const void *b,
                          ptrdiff_t ldb, void *c, ptrdiff_t ldc, int accumulate);

/* A block of p outputs that lie `step` apart in x, vectors along nr = nv * lanes output channels (or
 * half of lanes; `step` is 1 or 2 for more than FC_FILTERWISE_MOST_APART outputs):
 * c[i * nr + j] (+)= sum over k of x[i * step + offset[k]] * w[k * nr + j], i < p, j < nr
 * plus bias[j], unless that is NULL; nothing else of x is read. */
typedef void (*fc_filterwise_fn)(ptrdiff_t k, const void *x, ptrdiff_t step,
                                 const ptrdiff_t *offset, const void *w, const void *bias, void *c,
                                 int accumulate);

/* Whether none of n numbers is infinite or NaN. */
typedef int (*fc_is_finite_fn)(ptrdiff_t n, const void *src);

/* n_down x n_across blocks of outputs of one channel, each of FC_STENCIL_ROWS (or _TALL_ROWS) rows
 * and nv vectors:
 * c[r * ldc + j] (+)= sum over ky, kx of w[ky * ldw + kx] * x[(r * s + ky) * pitch + column[kx] + j]
 * plus *bias, unless that is NULL. The last vector of the last block across starts at column `last`
 * of its block, at most (nv - 1) * lanes: so a width of no whole vectors is met by an overlap. */
typedef void (*fc_stencil_fn)(ptrdiff_t n_down, ptrdiff_t n_across, ptrdiff_t last, const void *x,
                              ptrdiff_t pitch, ptrdiff_t kh, ptrdiff_t kw,
                              const ptrdiff_t *column, const void *w, ptrdiff_t ldw,
                              const void *bias, void *c, ptrdiff_t ldc, int accumulate);

/* A strip of nv vectors and n rows of outputs of one channel whose x lies in rows of its own, stride 1:
 * c[r * ldc + j] = bias + sum over ky, kx of w[ky * ldw + kx] * row(r + ky)[column[kx] + j]
 * where row(i) begins row_bytes[i * row_step] bytes behind x, and zeros stand for those before `begin`
 * (at most kh - 1) and from `end` on. The last vector starts at column `last` of the strip and has so
 * many `lanes` that are written. Bit j of inside[kx * FC_STENCIL_MAX_VECTORS + v] is set where lane j
 * of vector v under tap column kx lies in the image; `edges` says which vectors have others. Zeros
 * stand for these or, if `edges` has FC_BESIDE (up to FC_BESIDE_VECTORS vectors), lane `lane[j]` of
 * the vector at column `from` of the row, of which the lanes of `reach` are read:
 * beside[kx * FC_STENCIL_MAX_VECTORS + v].
 * Some square kernels have a loose sweep, for column[kx] = kx, ldw = kw and no FC_BESIDE: it reads all
 * lanes of its vectors, and expects none outside but those of the first vector before the middle column
 * of taps and of the last one behind it. */
#define FC_FIRST_EDGE 1
#define FC_LAST_EDGE 2
#define FC_ALL_EDGES 3
#define FC_BESIDE 4
#define FC_BESIDE_VECTORS 2
typedef struct {
    ptrdiff_t from;
    uint16_t reach;
    uint8_t lane[16];
} fc_beside_t;
typedef struct {
    ptrdiff_t n, begin, end, row_step, kw, ldw, ldc, last, lanes;
    const ptrdiff_t *row_bytes;
    const ptrdiff_t *column;
    const uint16_t *inside;
    const fc_beside_t *beside;
    int edges;
} fc_sweep_t;
typedef void (*fc_sweep_fn)(const fc_sweep_t *strip, const void *x, const void *w, const void *bias,
                            void *c);

/* n_rows x n_columns outputs of `lanes` channels that lie side by side, each under a kernel of its
 * own; w is [kh][kw][lanes]:
 * y[r * y_row + j * y_pixel + c] = bias[c] + sum over ky, kx of w[(ky * kw + kx) * lanes + c]
 *                           * x[r * x_row + j * x_pixel + ky * tap_row + kx * tap_pixel + c]
 * Unless `extent` is NULL, x has no rows but those r * stride_y + ky * dilation_y from `top` on and
 * before `bottom`, and no columns but those from `left` on and before `right`: taps on others are left
 * out, at most kw / 2 on either side of an output. It is for numbers of floating point, kw of 3, 5 and 7
 * and an x_pixel of one or two tap_pixel. */
typedef struct {
    ptrdiff_t n_rows, n_columns, kh, kw;
    ptrdiff_t x_row, x_pixel, tap_row, tap_pixel, y_row, y_pixel;
} fc_depthwise_t;
typedef struct {
    ptrdiff_t top, bottom, left, right;
    ptrdiff_t stride_y, stride_x, dilation_y, dilation_x;
} fc_extent_t;
typedef void (*fc_depthwise_fn)(const fc_depthwise_t *shape, const fc_extent_t *extent,
                                const void *x, const void *w, const void *bias, void *y);

/* The weight gradient of the same, where y_row and y_pixel are those of dy:
 * sums[(ky * kw + kx) * lanes + c] (+)= sum over r, j of dy[r * y_row + j * y_pixel + c]
 *                           * x[r * x_row + j * x_pixel + ky * tap_row + kx * tap_pixel + c] */
typedef void (*fc_depthwise_grad_fn)(const fc_depthwise_t *shape, const void *x, const void *dy,
                                     void *sums, int accumulate);

/* From planes of up to `lanes` channels to pixels of `lanes` channels, zeros behind the last one:
 * dst[to[p] + c] = src[c * channel_step + p] */
typedef void (*fc_interleave_fn)(ptrdiff_t n_channels, ptrdiff_t n_pixels, const void *src,
                                 ptrdiff_t channel_step, void *dst, const ptrdiff_t *to);

/* And back: dst[c * channel_step + p] = src[p * lanes + c] */
typedef void (*fc_deinterleave_fn)(ptrdiff_t n_channels, ptrdiff_t n_pixels, const void *src,
                                   void *dst, ptrdiff_t channel_step);

/* Up to `lanes` channels: dst[p * dst_step + c] = src[p * src_step + c] */
typedef void (*fc_copy_pixels_fn)(ptrdiff_t n_channels, ptrdiff_t n_pixels, const void *src,
                                  ptrdiff_t src_step, void *dst, ptrdiff_t dst_step);

/* n_rows x (n_vectors * lanes) outputs of one row of k taps,
 * fir          c[r * ldc + j] (+)= sum over t of w[t] * x[r * pitch + j + t], up to one vector read beyond
 * fir_columns  c[r * ldc + j] (+)= sum over t of w[t] * x[(r + t) * pitch + j] */
typedef void (*fc_fir_fn)(ptrdiff_t n_rows, ptrdiff_t n_vectors, const void *x, ptrdiff_t pitch,
                          ptrdiff_t k, const void *w, void *c, ptrdiff_t ldc, int accumulate);

/* panel[k * nr + run.lane ...] = b[offset[k] + run.start ...]; runs in rising order of lane; writes
 * up to one vector past each run, so the panel has a vector of slack. */
typedef struct {
    ptrdiff_t lane, start, n;
} fc_run_t;
typedef void (*fc_pack_fn)(ptrdiff_t k, const void *b, const ptrdiff_t *offset,
                           const fc_run_t *run, ptrdiff_t n_runs, void *panel, ptrdiff_t nr);

/* y[row_bytes[i] + j * column_bytes] = c[i * ldc + j] + bias[i], converted (bias may be NULL) */
typedef void (*fc_store_fn)(const void *c, ptrdiff_t ldc, ptrdiff_t n_rows, ptrdiff_t n,
                            const void *bias, char *y, const ptrdiff_t *row_bytes,
                            ptrdiff_t column_bytes);

/* A block of the weight gradient of one channel, as many rows and columns of taps as the kernel has:
 * c[ky * ldc + kx] (+)= sum over r < n_rows, j < n of
 *                       dy[r * ldy + j] * x[(r + ky) * pitch + column[kx] + j] */
typedef void (*fc_taps_fn)(ptrdiff_t n_rows, ptrdiff_t n, const void *dy, ptrdiff_t ldy,
                           const void *x, ptrdiff_t pitch, const ptrdiff_t *column, void *c,
                           ptrdiff_t ldc, int accumulate);

/* The n_rows x n_columns sums of all products that fall on one place:
 * c[r * ldc + j] = sum over ky, kx of p[ky * plane_y + kx * plane_x
 *                      + (r + top - ky * tap_row) * p_columns + j + left - kx * tap_column]
 * where those are a row and a column of the p_rows x p_columns products of a tap. Under a stride, the
 * taps are those of a phase. Reads up to a vector before the first and behind the last product; ldc is a
 * multiple of `lanes`, and rows of c are written in whole vectors. */
typedef struct {
    ptrdiff_t n_rows, n_columns, ldc, kh, kw, plane_y, plane_x, p_rows, p_columns;
    ptrdiff_t top, left, tap_row, tap_column;
} fc_fold_t;
typedef void (*fc_fold_fn)(const fc_fold_t *shape, const void *p, void *c);

/* dst[i] += src[i] */
typedef void (*fc_add_fn)(ptrdiff_t n, const void *src, void *dst);

/* Run n rounds of independent multiply-adds in registers; returns their floating-point operations. */
typedef double (*fc_peak_fn)(ptrdiff_t n, void *sink);

/* Winograd's algorithm for tiles of MH x MW outputs under RH x RW weights; AH = MH + RH - 1, AW likewise,
 * and there are AH * AW "points", point_step apart. winograd.inc says what they are.
 * X(name, MH, MW, RH, RW): the only list of forms. */
#define FC_EACH_WINOGRAD_FORM(X) \
    X(2x2_3x3, 2, 2, 3, 3) X(4x4_3x3, 4, 4, 3, 3) X(2x2_5x5, 2, 2, 5, 5) \
    X(4x1_3x1, 4, 1, 3, 1) X(1x4_1x3, 1, 4, 1, 3)
#define FC_NAME_WINOGRAD(NAME, MH, MW, RH, RW) FC_WINOGRAD_##NAME,
typedef enum { FC_EACH_WINOGRAD_FORM(FC_NAME_WINOGRAD) FC_WINOGRAD_N_FORMS } fc_winograd_form_t;

/* u[point * point_step + i] = the transformed weights i < n: each of w is [RH][RW], they lie `step` apart,
 * and w may be read up to `end`; writes whole vectors. */
typedef void (*fc_winograd_weights_fn)(const void *w, ptrdiff_t n, ptrdiff_t step, const void *end,
                                       void *u, ptrdiff_t point_step);

/* v[point * point_step + c * channel_step + lane] = the transformed inputs of a row of tiles. The
 * window has AH rows and MW * tiles + RW - 1 columns; the lanes behind the tiles, up to n_lanes, get zeros.
 * Whole vectors are written, but no more than `room` lanes.
 * What the guard needs of x * scale[channel] is added to sums [2 * AH + 2][pitch]: by pixel, the sums of
 * |x| and of about |x|^(1/2) over channels; by tile, the sum of x^2, and the largest such of a channel.
 * A row of sums has a vector of slack. */
typedef void (*fc_winograd_input_fn)(const fc_window_t *window, const char *src,
                                     ptrdiff_t n_channels, ptrdiff_t channel_bytes,
                                     const void *fill, const void *scale, void *v,
                                     ptrdiff_t channel_step, ptrdiff_t point_step,
                                     ptrdiff_t n_lanes, ptrdiff_t room, void *sums);

/* From products [point][n_rows][n_vectors * lanes] to out [n_rows][MH][MW * n_vectors * lanes]. */
typedef void (*fc_winograd_output_fn)(const void *products, ptrdiff_t point_step,
                                      ptrdiff_t n_rows, ptrdiff_t n_vectors, void *out);

/* The same with vectors along nv * lanes output channels: from products [point][n_tiles][nv * lanes]
 * to out [MH][n_tiles * MW][nv * lanes], plus bias[nv * lanes] unless that is NULL. */
typedef void (*fc_winograd_output_filterwise_fn)(const void *products, ptrdiff_t point_step,
                                                 ptrdiff_t n_tiles, ptrdiff_t nv,
                                                 const void *bias, void *out);

/* scale[c] = about the size of w in channel c, w being [n_rows][...][n_channels][RH][RW] with rows
 * row_step apart; the largest is 1, none is below FC_WINOGRAD_LEAST_SCALE. inverse[n_channels][RH * RW] =
 * 1 / scale. */
#define FC_WINOGRAD_LEAST_SCALE 0x1p-20
typedef void (*fc_winograd_scale_fn)(const void *w, ptrdiff_t n_rows, ptrdiff_t row_step,
                                     ptrdiff_t n_channels, void *scale, void *inverse);

/* Of one row of w, [n_channels][RH][RW], times inverse [n_channels][RH * RW] and in units of `size`, half to
 * twice its root mean square (0: all zeros; infinity: beyond what the others can be computed from). */
typedef struct {
    double size, taps[25]; /* sums of |w| over channels */
    double inverses[25];   /* and of about 1 / max(|w|, floor) */
    double fourth;         /* sum of w^4 */
    double raised;         /* sum of (max(|w|, floor) - |w|)^2 */
} fc_winograd_row_t;
typedef void (*fc_winograd_row_fn)(const void *w, const void *inverse, ptrdiff_t n_channels,
                                   double floor, fc_winograd_row_t *row);

/* spoiled[tile] = 1 where an output of n_rows x n_columns does not meet the bounds. The `size` of a
 * tile is the fourth root of (sum of x^2) * (largest sum of x^2 of a channel). */
typedef struct {
    double taps[25], share;    /* sum over taps of taps * sums >= size, and >= share * tile's average */
    double roots[25];          /* sum over taps of roots * (sum of roots)^2 >= size */
    double smallest, greatest; /* size, unless all x are 0 */
} fc_winograd_bounds_t;
typedef void (*fc_winograd_guard_fn)(const fc_winograd_bounds_t *bounds, const void *sums,
                                     ptrdiff_t pitch, ptrdiff_t n_rows, ptrdiff_t n_columns,
                                     unsigned char *spoiled);

typedef struct {
    fc_winograd_weights_fn weights;
    fc_winograd_input_fn input;
    fc_winograd_output_fn output;
    fc_winograd_output_filterwise_fn output_filterwise;
    fc_winograd_scale_fn scale;
    fc_winograd_row_fn row;
    fc_winograd_guard_fn guard;
} fc_winograd_t;

/* Winograd's algorithm for the weight gradient of 3 x 3 kernels, in winograd_grad.inc. From windows
 * [row][column][lanes] of n_tiles tiles side by side, rows `pitch` elements apart: 6 rows of x, or 4 of
 * dy, and 4 columns more for every tile.
 *
 * to[point * point_step + tile * tile_step + lane] = the transformed tile, or that of absolute values;
 * point 36 is the sum of (scale * x)^2 over the tile, 0 for zeros alone. */
typedef void (*fc_winograd_grad_fn)(const void *window, ptrdiff_t pitch, ptrdiff_t n_tiles,
                                    double scale, int absolute, void *to, ptrdiff_t tile_step,
                                    ptrdiff_t point_step);

/* out[tap * tap_step + j] (+)= the taps of sums of products sums[point * point_step + j], j < n, a multiple
 * of lanes; tap 9 is point 36 plus weight times the squares of the sums at all points, each times the
 * largest factor by which it enters a tap. */
typedef void (*fc_winograd_taps_fn)(const void *sums, ptrdiff_t point_step, ptrdiff_t n, void *out,
                                    ptrdiff_t tap_step, double weight, int accumulate);

/* limits[j] = (factor * the smallest of nine taps)^2 of sums of absolute values, in whole vectors; returns
 * for how many j < n point 36 times growth is beyond that. */
typedef ptrdiff_t (*fc_winograd_limits_fn)(const void *sums, ptrdiff_t point_step, ptrdiff_t n,
                                           double factor, double growth, void *limits);

/* is_beyond[j] = whether energy[j] is beyond limits[j], or one of them NaN or close to overflow, in whole
 * vectors; returns how many of n are. */
typedef ptrdiff_t (*fc_winograd_beyond_fn)(const void *energy, const void *limits, ptrdiff_t n,
                                           unsigned char *is_beyond);

/* Fourier transforms of matrices of complex numbers that lie in strips of `lanes` columns, each row of
 * a strip holding `lanes` real parts and as many imaginary ones. fourier.inc says more.
 *
 * One strip down its columns, in place, and back, times n, a product of factors 2, 3 and 5; frequencies
 * come in an order of their own. `twiddles` holds exp(-2 pi i k / n), k < n, as pairs of parts. */
typedef void (*fc_fft_fn)(ptrdiff_t n, const void *twiddles, void *strip);

/* A strip of n rows, a multiple of lanes, into `lanes` rows of strips that lie strip_size apart. */
typedef void (*fc_fft_transpose_fn)(ptrdiff_t n, const void *strip, void *to, ptrdiff_t strip_size);

/* The transform of n pairs of real rows, a strip whose columns are the pairs, into the first n / 2 + 1
 * frequencies of 2 * lanes rows, times scale: first those of the real parts. Frequencies come in their
 * natural order, in strips of `lanes` that lie strip_size apart; order[k] is the place of frequency k in
 * the transform. */
typedef void (*fc_fft_untangle_fn)(ptrdiff_t n, const ptrdiff_t *order, double scale,
                                   const void *strip, void *to, ptrdiff_t strip_size);

/* And back. */
typedef void (*fc_fft_entangle_fn)(ptrdiff_t n, const ptrdiff_t *order, const void *from,
                                   ptrdiff_t strip_size, void *strip);

/* A strip from planes of real and of imaginary parts (im may be NULL: zeros); adds the sum of their
 * squares to *energy and raises *largest to the largest of their absolute values. */
typedef void (*fc_fft_load_fn)(ptrdiff_t n, const void *re, const void *im, ptrdiff_t pitch,
                               void *strip, double *energy, double *largest);

/* out (+)= a * conj(b), rows of strips; out may be a. */
typedef void (*fc_fft_multiply_fn)(ptrdiff_t n_rows, const void *a, const void *b, void *out,
                                   int accumulate);

/* out = the sum of a[t] * conj(b[t]) over terms, in blocks of FC_FFT_SUMS of them; n_rows is a multiple of 4,
 * and all begin `offset` bytes later. */
#define FC_FFT_SUMS 8
typedef void (*fc_fft_dot_fn)(ptrdiff_t n_rows, ptrdiff_t n_terms, const void *const *a,
                              const void *const *b, ptrdiff_t offset, void *out);

/* The largest number of a part of a strip, if positive; `strip` points to the part. */
typedef double (*fc_fft_largest_fn)(ptrdiff_t n_rows, ptrdiff_t n_columns, const void *strip);

/* doubtful[i * pitch + j] = 0 where the part of the strip has `needed`; returns whether others are left. */
typedef ptrdiff_t (*fc_fft_confirm_fn)(ptrdiff_t n_rows, ptrdiff_t n_columns, const void *strip,
                                       double needed, unsigned char *doubtful, ptrdiff_t pitch);

/* |re| and |im| times scale, in single precision, as a strip of 2 * lanes columns. */
typedef void (*fc_fft_magnitudes_fn)(ptrdiff_t n, const void *re, const void *im, ptrdiff_t pitch,
                                     double scale, float *strip);

/* A part of a strip, plus bias, into y of the type (f16, f32 or f64); doubtful[i * pitch + j] is not 0
 * where its absolute value is not at least the threshold. Returns whether there are such. */
typedef ptrdiff_t (*fc_fft_store_fn)(ptrdiff_t n_rows, ptrdiff_t n_columns, const void *strip,
                                     double bias, double threshold, char *y, fc_type_t type,
                                     ptrdiff_t row_bytes, ptrdiff_t column_bytes,
                                     unsigned char *doubtful, ptrdiff_t pitch);

/* All kernels of one compute type in one instruction set. NULL where a conversion has no meaning. */
typedef struct {
    const char *name;                                      /* "f32" */
    ptrdiff_t item_bytes, lanes;
    int is_fused;                                          /* a * b + c rounds once */
    int gemm_rows[FC_GEMM_MAX_VECTORS + 1];                /* most rows for nv vectors, or 0 */
    int stencil_vectors;
    int filterwise_outputs[FC_FILTERWISE_MAX_VECTORS + 1]; /* most of them for nv vectors */
    /* [nv][p]; nv = 0 is half a vector, or NULL */
    fc_filterwise_fn filterwise[FC_FILTERWISE_MAX_VECTORS + 1][FC_FILTERWISE_MAX_OUTPUTS + 1];
    fc_is_finite_fn is_finite;
    fc_gemm_fn gemm[FC_GEMM_MAX_VECTORS + 1][FC_GEMM_MAX_ROWS + 1];
    fc_gemm_into_fn gemm_into[FC_GEMM_MAX_VECTORS + 1][FC_GEMM_MAX_ROWS + 1];
    fc_gemm_dot_fn gemm_dot[FC_GEMM_MAX_ROWS + 1];         /* NULL where there is none */
    /* [stride - 1][kernel height, 0 = any][vectors]; NULL where there is none */
    fc_stencil_fn stencil[2][FC_STENCIL_MAX_HEIGHT + 1][FC_STENCIL_MAX_VECTORS + 1];
    fc_stencil_fn tall_stencil[2][FC_STENCIL_MAX_HEIGHT + 1][FC_STENCIL_MAX_VECTORS + 1];
    /* [kernel height][vectors]; NULL where there is none */
    fc_sweep_fn sweep[FC_STENCIL_MAX_HEIGHT + 1][FC_STENCIL_MAX_VECTORS + 1];
    fc_sweep_fn loose_sweep[FC_STENCIL_MAX_HEIGHT + 1][FC_STENCIL_MAX_VECTORS + 1];
    fc_depthwise_fn depthwise;
    fc_depthwise_grad_fn depthwise_grad;                   /* NULL for integers */
    fc_interleave_fn interleave;
    fc_deinterleave_fn deinterleave;
    fc_copy_pixels_fn copy_pixels;
    fc_fir_fn fir, fir_columns;
    fc_dot_fn dot[FC_DOT_MAX_PIXELS + 1];                  /* [pixels] */
    fc_taps_fn taps[FC_TAPS_MAX_HEIGHT + 1][FC_TAPS_MAX_WIDTH + 1]; /* NULL where there is none */
    fc_pack_fn pack, pack_short;                           /* short: of at most lanes / 2 numbers */
    fc_pack_fn pack_exact;                                 /* neither reads nor writes beyond a run */
    fc_stage_fn stage[FC_N_TYPES];
    fc_split_fn split;
    fc_store_fn store[FC_N_TYPES];
    fc_fold_fn fold;                                       /* NULL for integers */
    fc_add_fn add;
    fc_peak_fn peak;
    fc_winograd_t winograd[FC_WINOGRAD_N_FORMS]; /* NULL for integers */
    fc_winograd_grad_fn winograd_grad_x, winograd_grad_dy;
    fc_winograd_taps_fn winograd_taps;
    fc_winograd_limits_fn winograd_limits;
    fc_winograd_beyond_fn winograd_beyond;
    fc_fft_fn fft_forward, fft_inverse;                    /* NULL for integers */
    fc_fft_transpose_fn fft_transpose;
    fc_fft_load_fn fft_load;
    fc_fft_multiply_fn fft_multiply;
    fc_fft_dot_fn fft_dot;
    fc_fft_untangle_fn fft_untangle;
    fc_fft_entangle_fn fft_entangle;
    fc_fft_largest_fn fft_largest;
    fc_fft_confirm_fn fft_confirm;
    fc_fft_magnitudes_fn fft_magnitudes;                   /* f64 alone */
    fc_fft_store_fn fft_store;                             /* f64 alone */
} fc_kernels_t;

/* An instruction set: its kernels for each compute type. */
typedef struct {
    const char *name;
    const fc_kernels_t *kernels[FC_N_COMPUTE];
} fc_isa_t;

#define FC_EACH_COMPUTE(X, isa) X(isa, u32, U32) X(isa, u64, U64) X(isa, f32, F32) X(isa, f64, F64)
#define FC_DECLARE_KERNELS(isa, t, code) extern const fc_kernels_t fc_##isa##_##t##_kernels;
#define FC_LIST_KERNELS(isa, t, code) [FC_COMPUTE_##code] = &fc_##isa##_##t##_kernels,
#define FC_DEFINE_ISA(isa)                           \
    FC_EACH_COMPUTE(FC_DECLARE_KERNELS, isa)         \
    static const fc_isa_t fc_isa_##isa = {           \
        #isa, {FC_EACH_COMPUTE(FC_LIST_KERNELS, isa)}};

/* dispatch.c */
int fc_isa_count(void);                        /* usable on this processor, lowest first */
const fc_isa_t *fc_isa(int index);
const char *fc_isa_built(int index);           /* all that were built; NULL past the last */

#endif
