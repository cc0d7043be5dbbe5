# SPDX-License-Identifier: BSD-3-Clause
"""The micro-kernels (C) and the choice of the instruction set; kernels.h is the contract."""
