/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the entries: finding one, and what its word says of the packet. */
#ifndef XEPC_ENTRIES_H
#define XEPC_ENTRIES_H

#include "directory.h"
#include "maps.h"
#include "policing.h"
#include "reason.h"

volatile const __u32 slices_mask;
volatile const __u32 blocks_mask;
volatile const __u32 ports_mask;

union uplink_words {
	__u64 whole;
	struct uplink_word word;
};

union downlink_words {
	__u64 whole;
	struct downlink_word word;
};

static __always_inline struct cell *find_port(__u32 ifindex)
{
	return find(&ports, ports_mask, ifindex);
}

static __always_inline struct cell *find_slice(__be32 address)
{
	return find(&slices, slices_mask, 1ULL << 32 | address); /* never 0, which is a free cell's key */
}

static __always_inline struct cell *find_block(__u32 instance, __be32 ue)
{
	return find(&blocks, blocks_mask, (__u64)instance << 32 | bpf_ntohl(ue) >> 8);
}

/* find_uplink also loads the word: the key is checked first, and an entry that goes loses its key first. */
static __always_inline struct uplink_entry *find_uplink(const struct cell *slice, __be32 teid, union uplink_words *w)
{
	__u32 slot = slice->value + (bpf_ntohl(teid) & slice->aux);
	struct uplink_entry *e = bpf_map_lookup_elem(&uplink, &slot);

	if (!e || READ_ONCE(e->teid) != teid)
		return NULL;
	w->whole = READ_ONCE(*(__u64 *)&e->word);
	return w->word.flags & ENTRY_VALID ? e : NULL;
}

static __always_inline struct downlink_entry *find_downlink(const struct cell *block, __be32 ue,
							    union downlink_words *w)
{
	__u32 slot = block->value + (bpf_ntohl(ue) & 0xff);
	struct downlink_entry *e = bpf_map_lookup_elem(&downlink, &slot);

	if (!e || READ_ONCE(e->ue) != ue)
		return NULL;
	w->whole = READ_ONCE(*(__u64 *)&e->word);
	return w->word.flags & ENTRY_VALID ? e : NULL;
}

/* check_flags says whether the entry's rules let packets through at all. */
static __always_inline enum reason check_flags(__u16 flags)
{
	if (likely(!(flags & (ENTRY_DROP | ENTRY_GATE_CLOSED | ENTRY_NO_HEADER))))
		return GO_ON;
	if (flags & ENTRY_DROP)
		return REASON_FAR_DROP;
	if (flags & ENTRY_GATE_CLOSED)
		return REASON_GATE_CLOSED;
	return REASON_NO_OUTER_HEADER;
}

#endif
