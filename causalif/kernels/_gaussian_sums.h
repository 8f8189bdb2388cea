/* The pass over one tile, for vectors of LANES floats. Included once per width by _gaussian.c, which sets LANES, TARGET
   and NAME. Vectors are GCC's and Clang's; a product and the sum it goes into are fused wherever the processor can.

   Where many terms are equal, sums in float32 err all in one direction, the more the longer they are. So they are short:
   four vectors of a row, and about 8 such sums; PART rows of a column, and GROUP / PART such parts; float64 from there
   on. */

typedef float NAME(vec) __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint32_t NAME(bits) __attribute__((vector_size(4 * LANES), aligned(4)));
#define VEC NAME(vec)
#define BITS NAME(bits)
#define ALL(x) ((VEC){0} + (x))
#define AT(p) (*(const VEC *)(p))

/* 2^x for x under 127, and 0 from -126 down. x = n + f with n whole and |f| <= 1/2: the exponent of 2^n is set by adding
   n to the bits, and 2^f is a polynomial, interpolated at Chebyshev's points in float64 (relative error 1e-8; rounding
   makes it 1e-7). Adding 1.5 * 2^23 rounds to a whole number, which then stands in the last bits of the sum. */
static inline __attribute__((always_inline)) TARGET VEC NAME(exp2)(const VEC x)
{
    const BITS seen = (BITS)(x > ALL(-126.0f));
    const VEC n = x + ALL(0x1.8p23f), f = x - (n - ALL(0x1.8p23f));
    VEC p = ALL(1.5461444854736328e-04f);
    p = p * f + ALL(1.3400427997112274e-03f);
    p = p * f + ALL(9.6180569380521774e-03f);
    p = p * f + ALL(5.5503271520137787e-02f);
    p = p * f + ALL(2.4022650718688965e-01f);
    p = p * f + ALL(6.9314718246459961e-01f);
    p = p * f + ALL(1.0f);
    return (VEC)(((BITS)p + ((BITS)n << 23)) & seen);
}

/* A block of `rows` rows and `across` vectors of columns, 4 or 1; as that is known where this is called, the loops over it
   vanish. */
static inline __attribute__((always_inline)) TARGET void NAME(block)(
    const int across, const float *tile, const size_t width, const size_t rows, const float *right, const float *left,
    VEC *row, double *columns)
{
    VEC weight[4], column[4];
    for (int a = 0; a < across; a++) {
        weight[a] = AT(right + a * LANES);
        column[a] = ALL(0.0f);
    }
    for (size_t start = 0; start < rows; start += PART) {
        const size_t stop = rows - start < PART ? rows : start + PART;
        VEC part[4];
        for (int a = 0; a < across; a++)
            part[a] = ALL(0.0f);
        for (size_t i = start; i < stop; i++) {
            const VEC own = ALL(left[i]);
            VEC sum = ALL(0.0f);
            for (int a = 0; a < across; a++) {
                const VEC k = NAME(exp2)(AT(tile + i * width + a * LANES));
                sum += k * weight[a];
                part[a] += k * own;
            }
            row[i] += sum;
        }
        for (int a = 0; a < across; a++)
            column[a] += part[a];
    }
    for (int a = 0; a < across; a++)
        for (int lane = 0; lane < LANES; lane++)
            columns[a * LANES + lane] += column[a][lane];
}

/* GROUP rows, or fewer, of `count` panels; `panels` is how far one is from the next. */
static TARGET void NAME(group)(
    const float *tile, const size_t count, const size_t panels, const size_t size, const size_t width,
    const float *right, const float *left, double *rows, double *columns)
{
    VEC row[GROUP];
    for (size_t i = 0; i < size; i++)
        row[i] = ALL(0.0f);
    for (size_t c = 0; c < count; c++, tile += panels, right += width, columns += width) {
        size_t j = 0;
        for (; j + 4 * LANES <= width; j += 4 * LANES)
            NAME(block)(4, tile + j, width, size, right + j, left, row, columns + j);
        for (; j < width; j += LANES)
            NAME(block)(1, tile + j, width, size, right + j, left, row, columns + j);
    }
    for (size_t i = 0; i < size; i++)
        for (int lane = 0; lane < LANES; lane++)
            rows[i] += row[i][lane];
}

static TARGET void NAME(sums)(
    const float *tile, const size_t count, const size_t n, const size_t width, const float *right, const float *left,
    double *rows, double *columns)
{
    const size_t step = LANES / 2; /* panels of 64 columns in which a lane of a row adds up 8 sums */
    for (size_t start = 0; start < n; start += GROUP)
        for (size_t c = 0; c < count; c += step)
            NAME(group)(
                tile + (c * n + start) * width, count - c < step ? count - c : step, n * width,
                n - start < GROUP ? n - start : GROUP, width, right + c * width, left + start, rows + start,
                columns + c * width);
}

#undef VEC
#undef BITS
#undef ALL
#undef AT
