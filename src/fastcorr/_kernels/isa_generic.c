/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The kernels for any processor: 16-byte vectors, whatever the compiler makes of them.
 * gemm: most rows of output channels beside 1, 2, 3 and 4 vectors of pixels (registers: 16).
 * filterwise: most outputs beside one vector of output channels.
 */
#include "kernels.h"

#define FC_ISA generic
#define FC_VECTOR_BYTES 16
#define FC_GEMM_ROWS_1 6
#define FC_GEMM_ROWS_2 5
#define FC_GEMM_ROWS_3 3
#define FC_GEMM_ROWS_4 2
#define FC_FILTERWISE_OUTPUTS_1 12
#define FC_STENCIL_VECTORS 2

#include "dtypes.inc"
