// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* The mutator: makes frames that parsers fear of frames that are right, and calls the data path with each, hundreds of
 * thousands a second, since it all stays in the kernel. BPF_PROG_TEST_RUN repeats it; what it makes depends on its state
 * alone, so that a run can be repeated. */
#include "kernel.h"
#include "parse.h"

enum {
	SEED_OCTETS = 256, /* of a frame that are given; what follows is what was there */
	FRAME_OCTETS = 2048,
	HEADROOM = 256, /* that the test runner gives */
	PAGE = 4096,
};

struct seed {
	__u32 frame; /* octets of all of it, at most FRAME_OCTETS */
	__u32 given; /* octets of it that are given */
	__u8 octets[SEED_OCTETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct seed);
	__uint(max_entries, 1);
} seeds SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} mutant SEC(".maps"); /* the data path */

__u64 state = 1; /* of the generator of numbers; never 0 */
__u32 seed_count;
__u64 mutated; /* frames that were given to the data path */
__u64 failed;  /* that were not: a fault of this program */
__u64 position;

/* draw is xorshift64*. */
static __always_inline __u32 draw(void)
{
	__u64 x = state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	state = x;
	return x * 0x2545F4914F6CDD1DULL >> 32;
}

/* below is a number in 0..n-1. */
static __always_inline __u32 below(__u32 n)
{
	return (__u64)draw() * n >> 32;
}

static __always_inline __u32 length(const struct xdp_md *ctx)
{
	return distance((void *)(long)ctx->data, (void *)(long)ctx->data_end);
}

/* lay_out gives the frame a headroom and a length, whatever the data path made of the one before. */
static __always_inline bool lay_out(struct xdp_md *ctx, __u32 headroom, __u32 octets)
{
	int shift;

	/* The page's beginning is its own multiple: only so can a program know where in it the frame begins. */
	*(volatile __u64 *)&position = (__u64)(long)ctx->data;
	shift = (int)headroom - (int)(READ_ONCE(position) & (PAGE - 1));
	if (shift <= 0)
		return !bpf_xdp_adjust_head(ctx, shift) && !bpf_xdp_adjust_tail(ctx, (int)octets - (int)length(ctx));
	return !bpf_xdp_adjust_tail(ctx, (int)octets + shift - (int)length(ctx)) && !bpf_xdp_adjust_head(ctx, shift);
}

/* Where lengths stand in frames of all kinds: outer, inner, tagged, IPv4 and IPv6. */
static const __u8 length_offsets[] = { 16, 20, 18, 22, 38, 44, 48, 52, 56, 58, 64, 68, 54, 42, 60, 66 };

/* strike changes an octet or a length somewhere in the headers. Every other time it leaves Ethernet alone. */
static __always_inline void strike(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 at = bounded(14 * below(2) + below(120), 0xff), r = draw();
	__u8 *octet = data + at;

	switch (below(5)) {
	case 0:
		if ((void *)(octet + 1) <= end)
			*octet = r;
		return;
	case 1:
		if ((void *)(octet + 1) <= end)
			*octet ^= 1 << (r & 7);
		return;
	case 2:
		if ((void *)(octet + 1) <= end)
			*octet += (r & 7) - 4;
		return;
	case 3:
		if ((void *)(octet + 2) <= end) {
			octet[0] = r;
			octet[1] = r >> 8;
		}
		return;
	default:
		at = bounded(length_offsets[below(sizeof(length_offsets)) & 15], 0x7f);
		octet = data + at;
		if ((void *)(octet + 2) <= end) {
			r = length(ctx) - at + (r & 7) - 4;
			octet[0] = r >> 8;
			octet[1] = r;
		}
	}
}

SEC("xdp")
int mutate(struct xdp_md *ctx)
{
	__u32 index = below(seed_count), headroom = below(8) ? HEADROOM : 48 + below(256), times = below(4), cut;
	struct seed *seed = bpf_map_lookup_elem(&seeds, &index);

	if (!seed || seed->frame > FRAME_OCTETS || seed->given < 1 || seed->given > SEED_OCTETS ||
	    !lay_out(ctx, headroom, seed->frame) ||
	    bpf_xdp_store_bytes(ctx, 0, seed->octets, bounded(seed->given - 1, SEED_OCTETS - 1) + 1)) {
		failed++;
		return XDP_ABORTED;
	}
#pragma unroll
	for (int i = 0; i < 3; i++)
		if (i < times)
			strike(ctx);
	cut = draw();
	if (cut % 8 == 0)
		bpf_xdp_adjust_tail(ctx, (int)below(seed->frame) + 14 - (int)seed->frame);
	else if (cut % 8 == 1)
		bpf_xdp_adjust_tail(ctx, below(40));
	mutated++;
	bpf_tail_call(ctx, &mutant, 0);
	failed++;
	return XDP_ABORTED;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
