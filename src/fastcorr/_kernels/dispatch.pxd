# SPDX-License-Identifier: BSD-3-Clause
from fastcorr._kernels.kernels cimport fc_kernels_t

cdef const fc_kernels_t *kernels(int compute) noexcept nogil
