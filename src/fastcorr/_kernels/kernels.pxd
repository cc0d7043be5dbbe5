# SPDX-License-Identifier: BSD-3-Clause
"""kernels.h for Cython: the only place where the kernels are declared again."""

from libc.stdint cimport uint8_t, uint16_t

cdef extern from "kernels.h" nogil:
    enum:
        FC_GEMM_MAX_ROWS
        FC_GEMM_MAX_VECTORS
        FC_FILTERWISE_MAX_VECTORS
        FC_FILTERWISE_MOST_APART
        FC_DOT_MAX_PIXELS
        FC_GEMM_DOT_VECTORS
        FC_STENCIL_ROWS
        FC_STENCIL_TALL_ROWS
        FC_STENCIL_MAX_HEIGHT
        FC_STENCIL_MAX_VECTORS
        FC_STENCIL_3X3_VECTORS
        FC_FIRST_EDGE, FC_LAST_EDGE, FC_ALL_EDGES
        FC_BESIDE, FC_BESIDE_VECTORS
        FC_TAPS_ROWS
        FC_TAPS_MAX_HEIGHT
        FC_TAPS_MAX_WIDTH
        FC_K_BLOCK
        FC_I8, FC_U8, FC_I16, FC_U16, FC_I32, FC_U32, FC_I64, FC_U64, FC_F16, FC_F32, FC_F64
        FC_COMPUTE_U32, FC_COMPUTE_U64, FC_COMPUTE_F32, FC_COMPUTE_F64
        FC_N_COMPUTE

    const Py_ssize_t FC_PAD

    ctypedef struct fc_window_t:
        Py_ssize_t n_rows, n_columns, pitch
        const Py_ssize_t *row_bytes
        const Py_ssize_t *column_bytes
        Py_ssize_t lo, hi
        Py_ssize_t step_bytes

    ctypedef struct fc_run_t:
        Py_ssize_t lane, start, n

    ctypedef void (*fc_stage_fn)(
        const fc_window_t *, const char *, Py_ssize_t, Py_ssize_t, const void *, void *, Py_ssize_t
    ) noexcept nogil
    ctypedef void (*fc_gemm_fn)(
        Py_ssize_t, const void *, Py_ssize_t, const void *, const Py_ssize_t *, void *, int
    ) noexcept nogil
    ctypedef void (*fc_gemm_into_fn)(
        Py_ssize_t, const void *, Py_ssize_t, const void *, const Py_ssize_t *, void *, Py_ssize_t,
        Py_ssize_t, const void *, int
    ) noexcept nogil
    ctypedef void (*fc_gemm_dot_fn)(
        Py_ssize_t, const void *, Py_ssize_t, const void *, const Py_ssize_t *, void *, Py_ssize_t,
        Py_ssize_t, const void *, const void *, void *, int
    ) noexcept nogil
    ctypedef void (*fc_dot_fn)(
        Py_ssize_t, Py_ssize_t, const void *, Py_ssize_t, const void *, Py_ssize_t, void *,
        Py_ssize_t, int
    ) noexcept nogil
    ctypedef void (*fc_filterwise_fn)(
        Py_ssize_t, const void *, Py_ssize_t, const Py_ssize_t *, const void *, const void *,
        void *, int
    ) noexcept nogil
    ctypedef bint (*fc_is_finite_fn)(Py_ssize_t, const void *) noexcept nogil
    ctypedef void (*fc_split_fn)(
        const fc_window_t *, const char *, const void *, void *, Py_ssize_t
    ) noexcept nogil
    ctypedef void (*fc_stencil_fn)(
        Py_ssize_t, Py_ssize_t, Py_ssize_t, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
        const Py_ssize_t *, const void *, Py_ssize_t, const void *, void *, Py_ssize_t, int
    ) noexcept nogil
    ctypedef struct fc_beside_t:
        Py_ssize_t from_ "from"
        uint16_t reach
        uint8_t lane[16]

    ctypedef struct fc_sweep_t:
        Py_ssize_t n, begin, end, row_step, kw, ldw, ldc, last, lanes
        const Py_ssize_t *row_bytes
        const Py_ssize_t *column
        const uint16_t *inside
        const fc_beside_t *beside
        int edges

    ctypedef void (*fc_sweep_fn)(
        const fc_sweep_t *, const void *, const void *, const void *, void *
    ) noexcept nogil
    ctypedef struct fc_depthwise_t:
        Py_ssize_t n_rows, n_columns, kh, kw
        Py_ssize_t x_row, x_pixel, tap_row, tap_pixel, y_row, y_pixel

    ctypedef struct fc_extent_t:
        Py_ssize_t top, bottom, left, right
        Py_ssize_t stride_y, stride_x, dilation_y, dilation_x

    ctypedef void (*fc_depthwise_fn)(
        const fc_depthwise_t *, const fc_extent_t *, const void *, const void *, const void *,
        void *
    ) noexcept nogil
    ctypedef void (*fc_depthwise_grad_fn)(
        const fc_depthwise_t *, const void *, const void *, void *, int
    ) noexcept nogil
    ctypedef void (*fc_interleave_fn)(
        Py_ssize_t, Py_ssize_t, const void *, Py_ssize_t, void *, const Py_ssize_t *
    ) noexcept nogil
    ctypedef void (*fc_deinterleave_fn)(
        Py_ssize_t, Py_ssize_t, const void *, void *, Py_ssize_t
    ) noexcept nogil
    ctypedef void (*fc_copy_pixels_fn)(
        Py_ssize_t, Py_ssize_t, const void *, Py_ssize_t, void *, Py_ssize_t
    ) noexcept nogil
    ctypedef void (*fc_fir_fn)(
        Py_ssize_t, Py_ssize_t, const void *, Py_ssize_t, Py_ssize_t, const void *, void *,
        Py_ssize_t, int
    ) noexcept nogil
    ctypedef void (*fc_pack_fn)(
        Py_ssize_t, const void *, const Py_ssize_t *, const fc_run_t *, Py_ssize_t, void *,
        Py_ssize_t
    ) noexcept nogil
    ctypedef void (*fc_store_fn)(
        const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const void *, char *, const Py_ssize_t *,
        Py_ssize_t
    ) noexcept nogil
    ctypedef void (*fc_taps_fn)(
        Py_ssize_t, Py_ssize_t, const void *, Py_ssize_t, const void *, Py_ssize_t,
        const Py_ssize_t *, void *, Py_ssize_t, int
    ) noexcept nogil
    ctypedef struct fc_fold_t:
        Py_ssize_t n_rows, n_columns, ldc, kh, kw, plane_y, plane_x, p_rows, p_columns
        Py_ssize_t top, left, tap_row, tap_column
    ctypedef void (*fc_fold_fn)(const fc_fold_t *, const void *, void *) noexcept nogil
    ctypedef void (*fc_add_fn)(Py_ssize_t, const void *, void *) noexcept nogil
    ctypedef double (*fc_peak_fn)(Py_ssize_t, void *) noexcept nogil

    ctypedef enum fc_winograd_form_t:
        FC_WINOGRAD_2x2_3x3
        FC_WINOGRAD_2x2_5x5
        FC_WINOGRAD_N_FORMS
    ctypedef void (*fc_winograd_weights_fn)(
        const void *, Py_ssize_t, Py_ssize_t, const void *, void *, Py_ssize_t
    ) noexcept nogil
    ctypedef void (*fc_winograd_input_fn)(
        const fc_window_t *, const char *, Py_ssize_t, Py_ssize_t, const void *, const void *,
        void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, void *
    ) noexcept nogil
    ctypedef void (*fc_winograd_output_fn)(
        const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, void *
    ) noexcept nogil
    ctypedef void (*fc_winograd_output_filterwise_fn)(
        const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const void *, void *
    ) noexcept nogil
    double FC_WINOGRAD_LEAST_SCALE
    ctypedef void (*fc_winograd_scale_fn)(
        const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, void *, void *
    ) noexcept nogil
    ctypedef struct fc_winograd_row_t:
        double size
        double taps[25]
        double inverses[25]
        double fourth, raised
    ctypedef void (*fc_winograd_row_fn)(
        const void *, const void *, Py_ssize_t, double, fc_winograd_row_t *
    ) noexcept nogil
    ctypedef struct fc_winograd_bounds_t:
        double taps[25]
        double roots[25]
        double share, smallest, greatest
    ctypedef void (*fc_winograd_guard_fn)(
        const fc_winograd_bounds_t *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
        unsigned char *
    ) noexcept nogil
    ctypedef struct fc_winograd_t:
        fc_winograd_weights_fn weights
        fc_winograd_input_fn input
        fc_winograd_output_fn output
        fc_winograd_output_filterwise_fn output_filterwise
        fc_winograd_scale_fn scale
        fc_winograd_row_fn row
        fc_winograd_guard_fn guard

    ctypedef void (*fc_winograd_grad_fn)(
        const void *, Py_ssize_t, Py_ssize_t, double, int, void *, Py_ssize_t, Py_ssize_t
    ) noexcept nogil
    ctypedef void (*fc_winograd_taps_fn)(
        const void *, Py_ssize_t, Py_ssize_t, void *, Py_ssize_t, double, int
    ) noexcept nogil
    ctypedef Py_ssize_t (*fc_winograd_limits_fn)(
        const void *, Py_ssize_t, Py_ssize_t, double, double, void *
    ) noexcept nogil
    ctypedef Py_ssize_t (*fc_winograd_beyond_fn)(
        const void *, const void *, Py_ssize_t, unsigned char *
    ) noexcept nogil

    ctypedef void (*fc_fft_fn)(Py_ssize_t, const void *, void *) noexcept nogil
    ctypedef void (*fc_fft_transpose_fn)(
        Py_ssize_t, const void *, void *, Py_ssize_t
    ) noexcept nogil
    ctypedef void (*fc_fft_load_fn)(
        Py_ssize_t, const void *, const void *, Py_ssize_t, void *, double *, double *
    ) noexcept nogil
    ctypedef void (*fc_fft_multiply_fn)(
        Py_ssize_t, const void *, const void *, void *, int
    ) noexcept nogil
    ctypedef void (*fc_fft_dot_fn)(
        Py_ssize_t, Py_ssize_t, const void *const *, const void *const *, Py_ssize_t, void *
    ) noexcept nogil
    ctypedef void (*fc_fft_untangle_fn)(
        Py_ssize_t, const Py_ssize_t *, double, const void *, void *, Py_ssize_t
    ) noexcept nogil
    ctypedef void (*fc_fft_entangle_fn)(
        Py_ssize_t, const Py_ssize_t *, const void *, Py_ssize_t, void *
    ) noexcept nogil
    ctypedef double (*fc_fft_largest_fn)(Py_ssize_t, Py_ssize_t, const void *) noexcept nogil
    ctypedef Py_ssize_t (*fc_fft_confirm_fn)(
        Py_ssize_t, Py_ssize_t, const void *, double, unsigned char *, Py_ssize_t
    ) noexcept nogil
    ctypedef void (*fc_fft_magnitudes_fn)(
        Py_ssize_t, const void *, const void *, Py_ssize_t, double, float *
    ) noexcept nogil
    ctypedef Py_ssize_t (*fc_fft_store_fn)(
        Py_ssize_t, Py_ssize_t, const void *, double, double, char *, int, Py_ssize_t, Py_ssize_t,
        unsigned char *, Py_ssize_t
    ) noexcept nogil

    ctypedef struct fc_kernels_t:
        const char *name
        Py_ssize_t item_bytes, lanes
        bint is_fused
        int gemm_rows[5]
        int filterwise_outputs[3]
        int stencil_vectors
        fc_filterwise_fn filterwise[3][29]
        fc_is_finite_fn is_finite
        fc_gemm_fn gemm[5][15]
        fc_gemm_into_fn gemm_into[5][15]
        fc_gemm_dot_fn gemm_dot[15]
        fc_stencil_fn stencil[2][8][5]
        fc_stencil_fn tall_stencil[2][8][5]
        fc_sweep_fn sweep[8][5]
        fc_sweep_fn loose_sweep[8][5]
        fc_depthwise_fn depthwise
        fc_depthwise_grad_fn depthwise_grad
        fc_interleave_fn interleave
        fc_deinterleave_fn deinterleave
        fc_copy_pixels_fn copy_pixels
        fc_fir_fn fir, fir_columns
        fc_dot_fn dot[5]
        fc_taps_fn taps[8][6]
        fc_pack_fn pack, pack_short, pack_exact
        fc_stage_fn stage[11]
        fc_split_fn split
        fc_store_fn store[11]
        fc_fold_fn fold
        fc_add_fn add
        fc_peak_fn peak
        fc_winograd_t winograd[FC_WINOGRAD_N_FORMS]
        fc_winograd_grad_fn winograd_grad_x, winograd_grad_dy
        fc_winograd_taps_fn winograd_taps
        fc_winograd_limits_fn winograd_limits
        fc_winograd_beyond_fn winograd_beyond
        fc_fft_fn fft_forward, fft_inverse
        fc_fft_transpose_fn fft_transpose
        fc_fft_load_fn fft_load
        fc_fft_multiply_fn fft_multiply
        fc_fft_dot_fn fft_dot
        fc_fft_untangle_fn fft_untangle
        fc_fft_entangle_fn fft_entangle
        fc_fft_largest_fn fft_largest
        fc_fft_confirm_fn fft_confirm
        fc_fft_magnitudes_fn fft_magnitudes
        fc_fft_store_fn fft_store

    ctypedef struct fc_isa_t:
        const char *name
        const fc_kernels_t *kernels[4]

    int fc_isa_count()
    const fc_isa_t *fc_isa(int index)
    const char *fc_isa_built(int index)
