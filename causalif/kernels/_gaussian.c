/* 2^x of a tile of exponents and its weighted row and column sums, in one pass that never stores the kernel.

   Compiled where causalif is installed, if there is a C compiler; `_compiled.py` calls it, and `_tiles.py` does the same
   in numpy. The tile has the shape (count, n, width), width a multiple of 16; right (count, width); left (n,). What
   rows (n,) and columns (count, width) hold is added to. Exponents are under 127: rounding leaves them near zero at most,
   or the tile is one of `far_tiles`, and those of products without norms are small. */

#include <stddef.h>
#include <stdint.h>

enum { PART = 8, GROUP = 32 };

#ifndef SOURCE
#define SOURCE ""
#endif

/* What this was compiled from: callers compare it with the sources that they know. */
const char *gaussian_source(void) { return SOURCE; }

#if defined(__x86_64__)

#define LANES 16
#define TARGET __attribute__((target("avx512f")))
#define NAME(x) x##_avx512
#include "_gaussian_sums.h"
#undef LANES
#undef TARGET
#undef NAME

#define LANES 8
#define TARGET __attribute__((target("avx2,fma")))
#define NAME(x) x##_avx2
#include "_gaussian_sums.h"

/* Floats in the widest vectors of this processor; 0 where none are worth it. */
int gaussian_lanes(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f"))
        return 16;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 8 : 0;
}

#elif defined(__aarch64__)

#define LANES 4
#define TARGET
#define NAME(x) x##_neon
#include "_gaussian_sums.h"

int gaussian_lanes(void) { return 4; }

#else

int gaussian_lanes(void) { return 0; }

#endif

/* `lanes` is what gaussian_lanes says, or less: 16 or 8 on x86-64, 4 on ARM64. */
void gaussian_sums(
    int lanes, const float *tile, size_t count, size_t n, size_t width, const float *right, const float *left,
    double *rows, double *columns)
{
#if defined(__x86_64__)
    (lanes == 16 ? sums_avx512 : sums_avx2)(tile, count, n, width, right, left, rows, columns);
#elif defined(__aarch64__)
    (void)lanes;
    sums_neon(tile, count, n, width, right, left, rows, columns);
#endif
}
