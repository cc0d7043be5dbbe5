/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The kernels for AArch64, whose Advanced SIMD is always there.
 * gemm: most rows of output channels beside 1, 2, 3 and 4 vectors of pixels (registers: 32).
 * filterwise: most outputs beside one vector of output channels.
 */
#include "kernels.h"

#define FC_ISA neon
#define FC_VECTOR_BYTES 16
#define FC_GEMM_ROWS_1 14
#define FC_GEMM_ROWS_2 12
#define FC_GEMM_ROWS_3 8
#define FC_GEMM_ROWS_4 6
#define FC_FILTERWISE_OUTPUTS_1 28
#define FC_STENCIL_VECTORS 4

#include "dtypes.inc"
