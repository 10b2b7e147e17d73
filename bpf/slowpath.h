/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the way of whole packets to user space: those that a FAR buffers. */
#ifndef XEPC_SLOWPATH_H
#define XEPC_SLOWPATH_H

#include "parse.h"

enum {
	PARKED_OCTETS = 2048, /* of one packet: more than any port's MTU that this program is for */
};

struct park_head {
	__u32 slot; /* of its entry */
	__u32 rule; /* index of rules; 0: the entry's own */
	__u32 by_teid; /* the slot is of uplink, not of downlink */
	__u32 octets;
};

struct parked {
	struct park_head head;
	__u8 packet[PARKED_OCTETS]; /* the inner IP packet */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} parking SEC(".maps");

/* park hands a packet of that many octets, which begins offset octets into the frame, to the slow path. False when
 * the ring is full. (bpf_xdp_load_bytes: Linux 5.18.) */
__noinline int park(struct xdp_md *ctx, const struct park_head *head, __u32 offset)
{
	struct parked *p;
	__u32 octets;

	if (!head)
		return false;
	octets = head->octets;
	if (octets < 1 || octets > PARKED_OCTETS)
		return false;
	p = bpf_ringbuf_reserve(&parking, sizeof(*p), 0);
	if (!p)
		return false;
	p->head = *head;
	if (bpf_xdp_load_bytes(ctx, offset, p->packet, bounded(octets - 1, PARKED_OCTETS - 1) + 1)) {
		bpf_ringbuf_discard(p, 0);
		return false;
	}
	bpf_ringbuf_submit(p, 0);
	return true;
}

#endif
