/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains what user space is told of. Events are hints: a full ring loses them, the reason still counts. */
#ifndef XEPC_EVENT_H
#define XEPC_EVENT_H

#include "reason.h"

enum event_kind {
	EVENT_UNKNOWN_TEID, /* teid and addresses */
	EVENT_THRESHOLD,    /* cell and bit: a volume threshold is reached */
	EVENT_QUOTA,        /* cell and bit: a packet was dropped because a quota is used up */
	EVENT_WATCH,        /* an entry has reached its watch. cell: its slot; bit: of uplink, not of downlink */
};

struct event {
	enum event_kind kind;
	__be32 teid;
	__be32 remote; /* outer source; 0: remote6 */
	__be32 local;  /* outer destination */
	__be16 remote_port;
	__u8 pad[2];
	__u32 cell;
	__u32 bit; /* of struct limits.raised */
	__u32 pad2;
	__be64 remote6[2];
	__be64 local6[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} events SEC(".maps");

/* begin_event is an empty one in the ring, for submit_event; NULL when the ring is full. No copy on the stack, which
 * the calls share. */
static __always_inline struct event *begin_event(enum event_kind kind)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return NULL;
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = kind;
	return event;
}

static __always_inline void submit_event(struct event *event)
{
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void send_cell_event(enum event_kind kind, __u32 cell, __u32 bit)
{
	struct event *event = begin_event(kind);

	if (!event)
		return;
	event->cell = cell;
	event->bit = bit;
	submit_event(event);
}

#endif
