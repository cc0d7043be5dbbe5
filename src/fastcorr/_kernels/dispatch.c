/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which instruction sets were built and which of them this processor has. Asked once, at import;
 * dispatch.pyx keeps the one in use. meson.build defines FC_HAVE_<ISA> for each kernel library.
 */
#include "kernels.h"

static int always(void) { return 1; }

FC_DEFINE_ISA(generic)
#ifdef FC_HAVE_NEON
FC_DEFINE_ISA(neon)
#endif
#ifdef FC_HAVE_AVX2
FC_DEFINE_ISA(avx2)
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
#ifdef FC_HAVE_AVX512
FC_DEFINE_ISA(avx512)
static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
}
#endif

static const struct {
    const fc_isa_t *isa;
    int (*usable)(void);
} built[] = {
    {&fc_isa_generic, always},
#ifdef FC_HAVE_NEON
    {&fc_isa_neon, always},
#endif
#ifdef FC_HAVE_AVX2
    {&fc_isa_avx2, has_avx2},
#endif
#ifdef FC_HAVE_AVX512
    {&fc_isa_avx512, has_avx512},
#endif
};

enum { N_BUILT = sizeof built / sizeof built[0] };

const char *fc_isa_built(int index) { return index < N_BUILT ? built[index].isa->name : NULL; }

const fc_isa_t *fc_isa(int index) {
    for (int i = 0; i < N_BUILT; i++) {
        if (built[i].usable() && index-- == 0) return built[i].isa;
    }
    return NULL;
}

int fc_isa_count(void) {
    int n = 0;
    while (fc_isa(n)) n++;
    return n;
}
