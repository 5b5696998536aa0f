// y[o] = sum_i x[i] f[i * UP - o * DOWN + pad] along both axes (see torch_utils/ops/upfirdn2d.py).
//
// Compiled with -DSCALAR=<storage type>. With -DUP_X.. -DTAPS_Y the numbers are constants, and there are two entry points:
//   upfirdn2d_tiled          planes of contiguous images: a tile of the input goes through shared memory
//   upfirdn2d_channels_last  each thread takes PACK neighbouring channels and ROWS x COLUMNS pixels
// Without them there is one, upfirdn2d_any, for every number and layout: one thread per pixel and channel.
#include "scalar.cuh"

typedef Scalar<SCALAR>::Compute Compute;

struct Images {
    int batch, channels, in_height, in_width, out_height, out_width;
};

struct Sampling {
    int pad_x, pad_y;  // left and top
    int reverse;       // read the filter backwards: a convolution instead of a correlation
    float gain;
};

// Division that rounds towards minus infinity; the divisor is positive.
static __device__ int floor_divide(int a, int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }
static __device__ int ceil_divide(int a, int b) { return floor_divide(a + b - 1, b); }

static __device__ Compute tap(const float* f, int row, int column, int rows, int columns, const Sampling& s) {
    int index = s.reverse ? (rows - 1 - row) * columns + columns - 1 - column : row * columns + column;
    // In float32 for every storage type, as the PyTorch path does it.
    return Compute(f[index] * s.gain);
}

#ifdef UP_X

// How many taps meet a pixel, at most.
enum { MEET_X = (TAPS_X + UP_X - 1) / UP_X, MEET_Y = (TAPS_Y + UP_Y - 1) / UP_Y, THREADS = 256 };

struct Tiling {
    int width, height, planes;    // of the output that a block computes; the height is a multiple of ROWS
    int across, down;             // tiles per plane
    int in_width, in_height;      // of the input in shared memory, per plane
};

// Each thread computes TILE_ROWS pixels below each other, so that a row of input serves several of them.
enum { TILE_ROWS = 4 };

// Taps whose numbers are constants stay in registers, if they are few.
enum { HOLD_TAPS = UP_X == 1 && UP_Y == 1 && TAPS_X * TAPS_Y <= 36 };

extern "C" __global__ void __launch_bounds__(THREADS)
upfirdn2d_tiled(const SCALAR* x, const float* f, SCALAR* y, Images g, Sampling s, Tiling t) {
    SHARED_MEMORY(shared);
    Compute* taps = (Compute*)shared;       // [TAPS_Y, TAPS_X]
    Compute* tile = taps + TAPS_X * TAPS_Y;  // [planes, in_height, in_width]

    const int place = (int)(blockIdx.x % (unsigned)(t.across * t.down));
    const int first_plane = (int)(blockIdx.x / (unsigned)(t.across * t.down)) * t.planes;
    const int out_x = place % t.across * t.width, out_y = place / t.across * t.height;
    const int in_x = ceil_divide(out_x * DOWN_X - s.pad_x, UP_X), in_y = ceil_divide(out_y * DOWN_Y - s.pad_y, UP_Y);
    const int planes = min(t.planes, g.batch * g.channels - first_plane);

    for (int i = threadIdx.x; i < TAPS_X * TAPS_Y; i += THREADS)
        taps[i] = tap(f, i / TAPS_X, i % TAPS_X, TAPS_Y, TAPS_X, s);

    // Row and column advance with the index, in place of a division per pixel; `row` counts through all planes.
    const int rows = planes * t.in_height;
    const int row_step = THREADS / t.in_width, column_step = THREADS % t.in_width;
    int row = threadIdx.x / t.in_width, column = threadIdx.x % t.in_width;
    while (row < rows) {
        const int plane = row / t.in_height;
        const int from_y = in_y + row - plane * t.in_height, from_x = in_x + column;
        Compute pixel = 0;
        if (from_x >= 0 && from_x < g.in_width && from_y >= 0 && from_y < g.in_height)
            pixel = Scalar<SCALAR>::load(
                x[((long long)(first_plane + plane) * g.in_height + from_y) * g.in_width + from_x]);
        tile[row * t.in_width + column] = pixel;
        row += row_step;
        column += column_step;
        if (column >= t.in_width) {
            column -= t.in_width;
            row++;
        }
    }
    __syncthreads();

    Compute held[HOLD_TAPS ? TAPS_X * TAPS_Y : 1];
    if (HOLD_TAPS) {
#pragma unroll
        for (int i = 0; i < TAPS_X * TAPS_Y; i++) held[HOLD_TAPS ? i : 0] = taps[i];
    }

    const int strips = t.height / TILE_ROWS;
    for (int item = threadIdx.x; item < planes * strips * t.width; item += THREADS) {
        const int strip = item / t.width, plane = strip / strips;
        const int to_x = out_x + item - strip * t.width, to_y = out_y + (strip - plane * strips) * TILE_ROWS;
        if (to_x >= g.out_width || to_y >= g.out_height) continue;
        const int start_x = to_x * DOWN_X - s.pad_x, first_x = ceil_divide(start_x, UP_X);
        const int tap_x = first_x * UP_X - start_x;
        const Compute* corner = tile + plane * t.in_height * t.in_width + first_x - in_x;
        Compute sum[TILE_ROWS];
#pragma unroll
        for (int r = 0; r < TILE_ROWS; r++) sum[r] = 0;

        if (UP_Y == 1) {
            const Compute* from = corner + (to_y * DOWN_Y - s.pad_y - in_y) * t.in_width;
#pragma unroll
            for (int i = 0; i < (TILE_ROWS - 1) * DOWN_Y + TAPS_Y; i++) {
                Compute pixels[MEET_X];
#pragma unroll
                for (int j = 0; j < MEET_X; j++) pixels[j] = from[i * t.in_width + j];
#pragma unroll
                for (int r = 0; r < TILE_ROWS; r++) {
                    const int k = i - r * DOWN_Y;
                    if (k < 0 || k >= TAPS_Y) continue;
#pragma unroll
                    for (int j = 0; j < MEET_X; j++) {
                        if (HOLD_TAPS)
                            sum[r] += pixels[j] * held[HOLD_TAPS ? k * TAPS_X + j : 0];
                        else if (TAPS_X % UP_X == 0 || tap_x + j * UP_X < TAPS_X)
                            sum[r] += pixels[j] * taps[k * TAPS_X + tap_x + j * UP_X];
                    }
                }
            }
        } else {
#pragma unroll
            for (int r = 0; r < TILE_ROWS; r++) {
                const int start_y = (to_y + r) * DOWN_Y - s.pad_y, first_y = ceil_divide(start_y, UP_Y);
                const int tap_y = first_y * UP_Y - start_y;
                const Compute* from = corner + (first_y - in_y) * t.in_width;
#pragma unroll
                for (int i = 0; i < MEET_Y; i++) {
                    if (TAPS_Y % UP_Y != 0 && tap_y + i * UP_Y >= TAPS_Y) continue;
#pragma unroll
                    for (int j = 0; j < MEET_X; j++)
                        if (TAPS_X % UP_X == 0 || tap_x + j * UP_X < TAPS_X)
                            sum[r] += from[i * t.in_width + j] * taps[(tap_y + i * UP_Y) * TAPS_X + tap_x + j * UP_X];
                }
            }
        }

        SCALAR* to = y + ((long long)(first_plane + plane) * g.out_height + to_y) * g.out_width + to_x;
#pragma unroll
        for (int r = 0; r < TILE_ROWS; r++)
            if (to_y + r < g.out_height) to[(long long)r * g.out_width] = Scalar<SCALAR>::store(sum[r]);
    }
}

// Columns and rows of input that the pixels of a thread meet, without enlargement.
enum { SPAN_X = (COLUMNS - 1) * DOWN_X + TAPS_X, SPAN_Y = (ROWS - 1) * DOWN_Y + TAPS_Y };

typedef Vector<unsigned, 4> Words;  // a pack before its elements are taken apart

template <int N>
static __device__ void load_row(Words* row, const SCALAR* image, const int* offsets, int y, const Images& g) {
    const SCALAR* line = image + (long long)min(max(y, 0), g.in_height - 1) * g.in_width * g.channels;
#pragma unroll
    for (int j = 0; j < N; j++) row[j] = *(const Words*)(line + offsets[j]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
upfirdn2d_channels_last(const SCALAR* x, const float* f, SCALAR* y, Images g, Sampling s) {
    typedef Vector<SCALAR, PACK> Pack;
    SHARED_MEMORY(shared);
    Compute* taps = (Compute*)shared;  // [TAPS_Y, TAPS_X]
    for (int i = threadIdx.x; i < TAPS_X * TAPS_Y; i += THREADS)
        taps[i] = tap(f, i / TAPS_X, i % TAPS_X, TAPS_Y, TAPS_X, s);
    __syncthreads();

    const int packs = g.channels / PACK;
    const int across = (g.out_width + COLUMNS - 1) / COLUMNS, down = (g.out_height + ROWS - 1) / ROWS;
    unsigned long long item = (unsigned long long)blockIdx.x * THREADS + threadIdx.x;
    if (item >= (unsigned long long)g.batch * down * across * packs) return;
    const int channel = (int)(item % packs) * PACK;
    item /= packs;
    const int to_x = (int)(item % across) * COLUMNS;
    item /= across;
    const int to_y = (int)(item % down) * ROWS;
    const long long image = (long long)(item / down);
    const SCALAR* from = x + image * g.in_height * g.in_width * g.channels + channel;

    Compute sum[ROWS][COLUMNS][PACK];
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int c = 0; c < COLUMNS; c++)
#pragma unroll
            for (int p = 0; p < PACK; p++) sum[r][c][p] = 0;

    if (UP_X == 1 && UP_Y == 1) {
        // Every pixel is loaded once and added to all results that it meets; all tap numbers are constants. A row is
        // loaded while the one above it is used, and without branches, so that its accesses are under way together:
        // outside of the image from the border, to be set to zero.
        const int first_x = to_x * DOWN_X - s.pad_x, first_y = to_y * DOWN_Y - s.pad_y;
        const bool near_border =
            first_x < 0 || first_y < 0 || first_x + SPAN_X > g.in_width || first_y + SPAN_Y > g.in_height;
        int offsets[SPAN_X];
#pragma unroll
        for (int j = 0; j < SPAN_X; j++) offsets[j] = min(max(first_x + j, 0), g.in_width - 1) * g.channels;
        Words ahead[SPAN_X];
        load_row<SPAN_X>(ahead, from, offsets, first_y, g);
#pragma unroll
        for (int i = 0; i < SPAN_Y; i++) {
            Words row[SPAN_X];
#pragma unroll
            for (int j = 0; j < SPAN_X; j++) row[j] = ahead[j];
            if (i + 1 < SPAN_Y) load_row<SPAN_X>(ahead, from, offsets, first_y + i + 1, g);
            if (near_border) {
                const bool row_outside = first_y + i < 0 || first_y + i >= g.in_height;
#pragma unroll
                for (int j = 0; j < SPAN_X; j++)
                    if (row_outside || first_x + j < 0 || first_x + j >= g.in_width) row[j] = Words();
            }
#pragma unroll
            for (int j = 0; j < SPAN_X; j++) {
                Pack pack;
                memcpy(&pack, &row[j], 16);
                Compute pixel[PACK];
#pragma unroll
                for (int p = 0; p < PACK; p++) pixel[p] = Scalar<SCALAR>::load(pack.at[p]);
#pragma unroll
                for (int r = 0; r < ROWS; r++)
#pragma unroll
                    for (int c = 0; c < COLUMNS; c++) {
                        const int k = i - r * DOWN_Y, l = j - c * DOWN_X;
                        if (k < 0 || k >= TAPS_Y || l < 0 || l >= TAPS_X) continue;
                        const Compute weight = taps[k * TAPS_X + l];
#pragma unroll
                        for (int p = 0; p < PACK; p++) sum[r][c][p] += pixel[p] * weight;
                    }
            }
        }
    } else {
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const int start_y = (to_y + r) * DOWN_Y - s.pad_y, first_y = ceil_divide(start_y, UP_Y);
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) {
                const int start_x = (to_x + c) * DOWN_X - s.pad_x, first_x = ceil_divide(start_x, UP_X);
#pragma unroll
                for (int i = 0; i < MEET_Y; i++) {
                    const int k = first_y * UP_Y - start_y + i * UP_Y, from_y = first_y + i;
                    if (k >= TAPS_Y || from_y < 0 || from_y >= g.in_height) continue;
#pragma unroll
                    for (int j = 0; j < MEET_X; j++) {
                        const int l = first_x * UP_X - start_x + j * UP_X, from_x = first_x + j;
                        if (l >= TAPS_X || from_x < 0 || from_x >= g.in_width) continue;
                        const Pack pixel =
                            *(const Pack*)(from + ((long long)from_y * g.in_width + from_x) * g.channels);
                        const Compute weight = taps[k * TAPS_X + l];
#pragma unroll
                        for (int p = 0; p < PACK; p++) sum[r][c][p] += Scalar<SCALAR>::load(pixel.at[p]) * weight;
                    }
                }
            }
        }
    }

    SCALAR* to = y + image * g.out_height * g.out_width * g.channels + channel;
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            if (to_y + r >= g.out_height || to_x + c >= g.out_width) continue;
            Pack result;
#pragma unroll
            for (int p = 0; p < PACK; p++) result.at[p] = Scalar<SCALAR>::store(sum[r][c][p]);
            *(Pack*)(to + ((long long)(to_y + r) * g.out_width + to_x + c) * g.channels) = result;
        }
}

#else

struct Factors {
    int up_x, up_y, down_x, down_y, taps_x, taps_y;
    int channels_last;
};

extern "C" __global__ void __launch_bounds__(256)
upfirdn2d_any(const SCALAR* x, const float* f, SCALAR* y, Images g, Sampling s, Factors a) {
    const long long count = (long long)g.batch * g.channels * g.out_height * g.out_width;
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += step) {
        long long rest = at;
        int channel = 0;
        if (a.channels_last) {
            channel = (int)(rest % g.channels);
            rest /= g.channels;
        }
        const int to_x = (int)(rest % g.out_width);
        rest /= g.out_width;
        const int to_y = (int)(rest % g.out_height);
        const long long plane = rest / g.out_height;  // image and channel, or the image alone

        const int start_x = to_x * a.down_x - s.pad_x, start_y = to_y * a.down_y - s.pad_y;
        const int first_x = max(ceil_divide(start_x, a.up_x), 0), first_y = max(ceil_divide(start_y, a.up_y), 0);
        const int last_x = min(floor_divide(start_x + a.taps_x - 1, a.up_x), g.in_width - 1);
        const int last_y = min(floor_divide(start_y + a.taps_y - 1, a.up_y), g.in_height - 1);
        const int apart = a.channels_last ? g.channels : 1;  // distance of horizontal neighbours
        Compute sum = 0;
        for (int from_y = first_y; from_y <= last_y; from_y++) {
            const SCALAR* from = x + (plane * g.in_height + from_y) * g.in_width * apart + channel;
            for (int from_x = first_x; from_x <= last_x; from_x++)
                sum += Scalar<SCALAR>::load(from[(long long)from_x * apart]) *
                       tap(f, from_y * a.up_y - start_y, from_x * a.up_x - start_x, a.taps_y, a.taps_x, s);
        }
        y[at] = Scalar<SCALAR>::store(sum);
    }
}

#endif
