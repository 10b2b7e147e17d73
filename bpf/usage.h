/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the counting of packets: in the entry, or in the usage cells of URRs with their limits. */
#ifndef XEPC_USAGE_H
#define XEPC_USAGE_H

#include "event.h"
#include "maps.h"

#define CELL_HAS_LIMITS (1ULL << 63)
#define CELL_OCTETS(x) ((x) & ~CELL_HAS_LIMITS)

/* count_usage. Atomic: the packets of one entry may arrive on several CPUs, and no octet may be lost. */
static __always_inline __u32 count_usage(struct usage *u, __u32 octets)
{
	__sync_fetch_and_add(&u->packets, 1);
	return __sync_fetch_and_add(&u->octets, octets) + octets;
}

/* tell_watch tells that an entry's octets have reached its watch, once. When the ring is full, the next packet does. */
__noinline int tell_watch(struct meter *m, __u32 watch, __u32 slot, __u32 by_teid)
{
	struct event *event = begin_event(EVENT_WATCH);

	if (!event)
		return 0;
	if (!m || __sync_val_compare_and_swap(&m->watch, watch, WATCH_TOLD) != watch) {
		bpf_ringbuf_discard(event, 0);
		return 0;
	}
	event->cell = slot;
	event->bit = by_teid;
	submit_event(event);
	return 0;
}

static __always_inline void count_in_entry(struct entry *entry, __u32 octets, __u32 slot, __u32 by_teid)
{
	__u32 watch = READ_ONCE(entry->meter.watch), after = count_usage(&entry->usage, octets);

	if (unlikely(watch > WATCH_TOLD && (__s32)(after - watch) >= 0))
		tell_watch(&entry->meter, watch, slot, by_teid);
}

/* raise tells of a limit once, until user space sets it anew. */
static __always_inline void raise_limit(struct limits *l, __u32 cell, __u32 bit, enum event_kind kind)
{
	if (!(READ_ONCE(l->raised) & bit) && !(__sync_fetch_and_or(&l->raised, bit) & bit))
		send_cell_event(kind, cell, bit);
}

static __always_inline struct limits *limits_of(__u32 cell)
{
	struct cell_origin *origin = bpf_map_lookup_elem(&cell_origins, &cell);
	__u32 index = origin ? READ_ONCE(origin->limits) : 0;

	return index ? bpf_map_lookup_elem(&limits, &index) : NULL;
}

/* check_limits: what the cell has counted against thresholds or quotas. over is set for a quota that is used up. */
__noinline int check_limits(__u32 cell, __u32 quotas)
{
	struct usage_cell *u = bpf_map_lookup_elem(&cells, &cell);
	struct limits *l = limits_of(cell);
	int over = 0;

	if (!u || !l)
		return 0;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u64 limit = quotas ? READ_ONCE(l->quotas[i]) : READ_ONCE(l->thresholds[i]);
		__u64 count = i == LIMITED_TOTAL ?
			CELL_OCTETS(READ_ONCE(u->octets[UPLINK])) + CELL_OCTETS(READ_ONCE(u->octets[DOWNLINK])) :
			CELL_OCTETS(READ_ONCE(u->octets[i]));

		if (!limit || count < limit)
			continue;
		raise_limit(l, cell, 1U << (i + (quotas ? 8 : 0)), quotas ? EVENT_QUOTA : EVENT_THRESHOLD);
		over = 1;
	}
	return over;
}

/* has_quota_left: a cell that is not there limits nothing. */
static __always_inline bool has_quota_left(__u32 cell, __u32 direction)
{
	struct usage_cell *u = bpf_map_lookup_elem(&cells, &cell);

	return !u || likely(!(READ_ONCE(u->octets[direction & 1]) & CELL_HAS_LIMITS)) || !check_limits(cell, 1);
}

static __always_inline void count_in_cell(__u32 cell, __u32 direction, __u32 octets)
{
	struct usage_cell *u = bpf_map_lookup_elem(&cells, &cell);
	__u64 before;

	if (!u)
		return;
	__sync_fetch_and_add(&u->packets[direction & 1], 1);
	before = __sync_fetch_and_add(&u->octets[direction & 1], octets);
	if (unlikely(before & CELL_HAS_LIMITS))
		check_limits(cell, 0);
}

#endif
