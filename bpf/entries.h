/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the entries: finding one, and what its word says of the packet. */
#ifndef XEPC_ENTRIES_H
#define XEPC_ENTRIES_H

#include "directory.h"
#include "maps.h"
#include "policing.h"
#include "reason.h"

volatile const __u32 slices_buckets;
volatile const __u32 blocks_cells; /* a mask */
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

/* Whose entry is looked for. */
struct ue {
	__be32 key; /* of its entry */
	__u32 octet; /* the last one of an IPv4 address or of an IPv6 /64 */
	__be64 prefix; /* of its entry */
	__u64 block;   /* its key in blocks */
	__u64 host;    /* its key in hosts */
};

static __always_inline struct ue ue_of_ipv4(__u32 instance, __be32 address)
{
	__u32 a = bpf_ntohl(address);

	return (struct ue){
		.key = address,
		.octet = a & 0xff,
		.prefix = instance,
		.block = (__u64)instance << 32 | a >> 8,
		.host = (__u64)instance << 32 | a,
	};
}

static __always_inline struct ue ue_of_ipv6(__u32 instance, __be64 prefix)
{
	__u64 half = bpf_be64_to_cpu(prefix);

	return (struct ue){
		.key = UE_PREFIX6 | instance << 8,
		.octet = half & 0xff,
		.prefix = prefix,
		.block = block_key6(half, instance),
		.host = prefix_key(half, instance),
	};
}

static __always_inline struct entry *entry_at(__u32 slot, const struct ue *ue, struct found *f)
{
	struct entry *e = bpf_map_lookup_elem(&downlink, &slot);

	return e && READ_ONCE(e->key) == ue->key && e->prefix == ue->prefix ? load_word(e, slot, f) : NULL;
}

/* find_directly looks where most UEs are: in their own place in blocks, or in hosts. */
static __always_inline struct entry *find_directly(const struct ue *ue, struct found *f)
{
	struct where at = {};
	struct entry *e;

	if (likely(find_home(&blocks, blocks_cells, ue->block, &at))) {
		e = entry_at(at.value + ue->octet, ue, f);
		if (likely(e))
			return e;
	}
	return find_host(ue->host, &at) ? entry_at(at.value, ue, f) : NULL;
}

/* An address that find_directly did not find. */
struct stranger {
	struct route_key route;
	__u32 family; /* FILTER_IPV4 or FILTER_IPV6 */
	__u32 around; /* is set when it lies beside UEs', in the same /24 */
};

enum {
	NO_SLOT = -1,
};

/* is_own says of an address of a network instance that no framed route or other prefix takes it: it is the node's, or goes to all
 * on the link (neighbour discovery, routing protocols). */
static __always_inline bool is_own(const struct route_key *route, __u32 family)
{
	__u32 number = bpf_ntohl(route->instance);
	struct instance *in = bpf_map_lookup_elem(&instances, &number);
	__be32 ipv4 = *(__be32 *)&route->address[12];
	__be64 halves[2];

	if (family == FILTER_IPV4)
		return bpf_ntohl(ipv4) >> 28 >= 0xe || (in && in->local == ipv4);
	if (route->address[0] == 0xff || (route->address[0] == 0xfe && (route->address[1] & 0xc0) == 0x80))
		return true;
	__builtin_memcpy(halves, route->address, sizeof(halves));
	return in && in->local6[0] == halves[0] && in->local6[1] == halves[1];
}

/* slot_of looks for a UE whose block has another place, and for the longest prefix of one that contains the address. */
__noinline int slot_of(struct stranger *s)
{
	struct route_key route;
	struct where at = {};
	struct found f;
	__u32 *routed;
	struct ue ue;

	if (!s)
		return NO_SLOT;
	route = s->route; /* Linux 6.1 looks up by keys on the stack */
	ue = s->family == FILTER_IPV4 ? ue_of_ipv4(bpf_ntohl(route.instance), *(__be32 *)&route.address[12]) :
					ue_of_ipv6(bpf_ntohl(route.instance), *(__be64 *)route.address);
	s->around = find_neighbour(&blocks, blocks_cells, ue.block, &at);
	if (s->around && entry_at(at.value + ue.octet, &ue, &f))
		return f.slot;
	if (is_own(&route, s->family)) {
		s->around = false;
		return NO_SLOT;
	}
	routed = bpf_map_lookup_elem(&routes, &route);
	return routed ? *routed : NO_SLOT;
}

static __always_inline struct entry *find_stranger(struct stranger *s, struct found *f)
{
	__u32 slot = slot_of(s);
	struct entry *e = bpf_map_lookup_elem(&downlink, &slot);

	return e && READ_ONCE(e->key) ? load_word(e, slot, f) : NULL;
}

/* find_ue4: around is set when there is none, but the address lies beside UEs', in the same /24. */
static __always_inline struct entry *find_ue4(__u32 instance, __be32 address, struct found *f, bool *around)
{
	struct ue ue = ue_of_ipv4(instance, address);
	struct entry *e = find_directly(&ue, f);

	*around = false;
	if (likely(e))
		return e;
	struct stranger s = { .route = { .bits = 8 * (4 + 16), .instance = bpf_htonl(instance) }, .family = FILTER_IPV4 };

	s.route.address[10] = s.route.address[11] = 0xff;
	__builtin_memcpy(&s.route.address[12], &address, 4);
	e = find_stranger(&s, f);
	*around = s.around;
	return e;
}

static __always_inline struct entry *find_ue6(__u32 instance, const struct in6_addr *address, struct found *f)
{
	struct entry *e;
	__be64 prefix;

	__builtin_memcpy(&prefix, address, 8);
	struct ue ue = ue_of_ipv6(instance, prefix);

	e = find_directly(&ue, f);
	if (likely(e))
		return e;
	struct stranger s = { .route = { .bits = 8 * (4 + 16), .instance = bpf_htonl(instance) }, .family = FILTER_IPV6 };

	__builtin_memcpy(s.route.address, address, 16);
	return find_stranger(&s, f);
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
