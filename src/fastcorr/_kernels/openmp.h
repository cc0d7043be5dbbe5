/* SPDX-License-Identifier: BSD-3-Clause
 *
 * OpenMP's run-time functions, or their one-thread meaning where it is not built in.
 */
#ifndef FASTCORR_OPENMP_H
#define FASTCORR_OPENMP_H

#ifdef _OPENMP
#include <omp.h>
#define FC_OPENMP 1
#else
#define FC_OPENMP 0
static inline int omp_get_max_threads(void) { return 1; }
static inline int omp_in_parallel(void) { return 0; }
#endif

/* libgomp's threads do not survive a fork, and the child would wait for them for ever: end them
 * before (LLVM's libomp has its own handler). The next parallel region starts new ones. */
static inline void fc_end_idle_threads(void) {
#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
    omp_pause_resource_all(omp_pause_soft);
#endif
}

#if defined(__clang__)
#define FC_COMPILER "clang"
#elif defined(__GNUC__)
#define FC_COMPILER "gcc"
#else
#define FC_COMPILER "unknown"
#endif
#ifdef __VERSION__
#define FC_COMPILER_VERSION __VERSION__
#else
#define FC_COMPILER_VERSION ""
#endif

#endif
