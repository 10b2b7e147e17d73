/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the Internet checksum (RFC 1071) over pieces of a frame of any length. Few packets need it: G-PDUs over
 * IPv6, and ICMP messages of the program's own. */
#ifndef XEPC_CHECKSUM_H
#define XEPC_CHECKSUM_H

#include "kernel.h"

enum {
	SUM_AT_ONCE = 512, /* octets: what bpf_csum_diff takes */
	SUM_PIECES = 32,   /* of a frame: more than any has */
};

/* Where add_piece has its piece of a frame; the last words are for padding. */
struct sum_piece {
	__u8 octets[SUM_AT_ONCE + 4];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct sum_piece);
	__uint(max_entries, 1);
} sum_pieces SEC(".maps");

/* add_piece adds so many octets of the frame, at most SUM_AT_ONCE, to a ones' complement sum. (bpf_xdp_load_bytes: Linux
 * 5.18. Pointers into the packet would be as many cases to the verifier as there are lengths.) */
__noinline int add_piece(struct xdp_md *ctx, __u32 offset, __u32 octets, __u32 sum)
{
	__u32 zero = 0;
	struct sum_piece *piece = bpf_map_lookup_elem(&sum_pieces, &zero);

	if (!piece || octets < 1 || octets > SUM_AT_ONCE)
		return sum;
	octets = bounded(octets - 1, SUM_AT_ONCE - 1) + 1;
	if (bpf_xdp_load_bytes(ctx, offset, piece->octets, octets))
		return sum;
	__builtin_memset(&piece->octets[octets], 0, 4);
	return bpf_csum_diff(NULL, 0, (__be32 *)piece->octets, (octets + 3) & ~3U, sum);
}

/* checksum_of is the checksum of so many octets of the frame; sum: of what else belongs to it. */
__noinline int checksum_of(struct xdp_md *ctx, __u32 offset, __u32 octets, __u32 sum)
{
	for (int i = 0; i < SUM_PIECES && octets; i++) {
		__u32 some = octets < SUM_AT_ONCE ? octets : SUM_AT_ONCE;

		sum = add_piece(ctx, offset, some, sum);
		offset += some;
		octets -= some;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

#endif
