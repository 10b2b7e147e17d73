/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the entries: finding one, and what its word says of the packet. */
#ifndef XEPC_ENTRIES_H
#define XEPC_ENTRIES_H

#include "directory.h"
#include "maps.h"
#include "policing.h"
#include "reason.h"

volatile const __u32 slices_buckets;
volatile const __u32 blocks_buckets;
volatile const __u32 ports_buckets;
volatile const __u32 teids_buckets; /* of a generation */
volatile const __u32 hosts_buckets;

static __always_inline bool find_port(__u32 ifindex, __u32 vlan, struct where *at)
{
	return find_fronted(&ports, ports_buckets, (__u64)vlan << 32 | ifindex, at);
}

static __always_inline bool find_slice(__be32 address, struct where *at)
{
	return find_fronted(&slices, slices_buckets, 1ULL << 32 | address, at); /* never 0, which is a free cell's key */
}

static __always_inline bool find_block(__u32 instance, __be32 ue, struct where *at)
{
	return find(&blocks, blocks_buckets, (__u64)instance << 32 | bpf_ntohl(ue) >> 8, at);
}

static __always_inline bool find_teid(__u64 key, struct where *at)
{
	__u32 zero = 0;
	struct growth *grown = bpf_map_lookup_elem(&growths, &zero);

	return grown && find_grown(&teids, teids_buckets, READ_ONCE(grown->teids), key, at);
}

static __always_inline bool find_host(__u64 key, struct where *at)
{
	__u32 zero = 0;
	struct growth *grown = bpf_map_lookup_elem(&growths, &zero);

	return grown && find_grown(&hosts, hosts_buckets, READ_ONCE(grown->hosts), key, at);
}

/* find_slice6: other addresses may have the same key, so the address itself is compared. */
static __always_inline bool find_slice6(const __be64 *address, struct where *at)
{
	struct service *service;
	__u32 number;

	if (!find_fronted(&slices, slices_buckets,
		  prefix_key(bpf_be64_to_cpu(address[0]) ^ bpf_be64_to_cpu(address[1]) * 31, 0), at))
		return false;
	number = at->value;
	service = bpf_map_lookup_elem(&services, &number);
	if (!service || service->address6[0] != address[0] || service->address6[1] != address[1])
		return false;
	at->value = service->base;
	at->aux = service->mask;
	return true;
}

/* A look-up's result. */
struct found {
	union {
		__u64 whole; /* stored as one: a load of several stores waits for all of them */
		struct word word;
	};
	__u32 slot;
	__u32 pad;
};

/* load_word: the key is checked first, and an entry that goes loses its key first. */
static __always_inline struct entry *load_word(struct entry *e, __u32 slot, struct found *at)
{
	at->whole = READ_ONCE(*(__u64 *)&e->word);
	at->slot = slot;
	if (unlikely(!(at->word.flags & ENTRY_VALID))) {
		asm volatile("" ::: "memory"); /* or the compiler masks the pointer, which the verifier forbids */
		return NULL;
	}
	return e;
}

/* find_by_teid finds an entry in the slot that the TEID names, or where the directory says. */
static __always_inline struct entry *find_by_teid(const struct where *slice, __be32 teid, struct found *f)
{
	__u32 slot = slice->value + (bpf_ntohl(teid) & slice->aux);
	struct entry *e = bpf_map_lookup_elem(&uplink, &slot);
	struct where other = {};

	if (!e)
		return NULL;
	if (likely(READ_ONCE(e->key) == teid)) {
		e = load_word(e, slot, f);
		if (likely(e))
			return e;
	}
	if (!teid)
		return NULL;
	if (!find_teid(((__u64)slice->value + 1) << 32 | bpf_ntohl(teid), &other))
		return NULL;
	slot = other.value;
	e = bpf_map_lookup_elem(&uplink, &slot);
	return e && READ_ONCE(e->key) == teid ? load_word(e, slot, f) : NULL;
}

static __always_inline struct entry *entry_at(__u32 slot, __be32 key, struct found *f)
{
	struct entry *e = bpf_map_lookup_elem(&downlink, &slot);

	return e && READ_ONCE(e->key) == key ? load_word(e, slot, f) : NULL;
}

/* find_route finds the longest prefix of a UE that contains the address. */
static __always_inline struct entry *find_route(const struct route_key *key, struct found *f)
{
	__u32 *slot = bpf_map_lookup_elem(&routes, key);

	struct entry *e;
	__u32 at;

	if (!slot)
		return NULL;
	at = *slot;
	e = bpf_map_lookup_elem(&downlink, &at);
	return e && READ_ONCE(e->key) ? load_word(e, at, f) : NULL;
}

/* find_ue4: around is set when the address lies beside UEs', in the same /24. */
static __always_inline struct entry *find_ue4(__u32 instance, __be32 ue, struct found *f, bool *around)
{
	struct where at = {};
	struct entry *e;

	*around = find_block(instance, ue, &at);
	if (likely(*around)) {
		e = entry_at(at.value + (bpf_ntohl(ue) & 0xff), ue, f);
		if (likely(e))
			return e;
	}
	if (find_host((__u64)instance << 32 | bpf_ntohl(ue), &at)) {
		e = entry_at(at.value, ue, f);
		if (e)
			return e;
	}
	struct route_key key = { .bits = 8 * (4 + 16), .instance = bpf_htonl(instance) };

	key.address[10] = key.address[11] = 0xff;
	__builtin_memcpy(&key.address[12], &ue, 4);
	return find_route(&key, f);
}

static __always_inline struct entry *find_ue6(__u32 instance, const struct in6_addr *ue, struct found *f)
{
	struct route_key key = { .bits = 8 * (4 + 16), .instance = bpf_htonl(instance) };
	struct where at = {};
	struct entry *e;
	__be64 prefix;
	__u64 half;

	__builtin_memcpy(key.address, ue, 16);
	__builtin_memcpy(&prefix, ue, 8);
	half = bpf_be64_to_cpu(prefix);
	if (likely(find(&blocks, blocks_buckets, prefix_key(half >> 8, instance), &at))) {
		e = entry_at(at.value + (half & 0xff), UE_PREFIX6, f);
		if (likely(e && e->prefix == prefix))
			return e;
	}
	if (find_host(prefix_key(half, instance), &at)) {
		e = entry_at(at.value, UE_PREFIX6, f);
		if (likely(e && e->prefix == prefix))
			return e;
	}
	return find_route(&key, f);
}

/* check_flags says whether the entry's rules let packets through at all. */
static __always_inline enum reason check_flags(__u16 flags)
{
	if (likely(!(flags & (ENTRY_DROP | ENTRY_GATE_CLOSED | ENTRY_NO_HEADER))))
		return GO_ON;
	if (flags & ENTRY_DROP)
		return because(REASON_FAR_DROP);
	if (flags & ENTRY_GATE_CLOSED)
		return because(REASON_GATE_CLOSED);
	return because(REASON_NO_OUTER_HEADER);
}

#endif
