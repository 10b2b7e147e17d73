/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains rule sets: which of several rules of a key takes a packet. */
#ifndef XEPC_RULES_H
#define XEPC_RULES_H

#include "maps.h"
#include "parse.h"

/* What filters look at, seen from the UE. Addresses as in struct filter. */
struct facts {
	__u64 remote[2];
	__u64 local[2];
	__u32 traits; /* enum trait */
	__u16 remote_port;
	__u16 local_port;
	__u32 spi;
	__u32 flow_label;
	__u32 direction;
	__u32 pad;
};

/* differs: not in the first 64 bits of a prefix. A shift by 64 is none: two halves of it. */
static __always_inline bool differs(__u64 address, __u64 prefix, __u32 shift)
{
	return (address ^ prefix) >> (shift / 2) >> (shift - shift / 2);
}

/* differs_after: not in what follows them. */
static __always_inline bool differs_after(__u64 address, __u64 prefix, __u32 bits)
{
	return bits > 64 && (address ^ prefix) >> ((128 - bits) & 63);
}

/* matches_rest compares what few filters have. */
static __always_inline bool matches_rest(const struct facts *f, const struct filter *x)
{
	if (x->mask & TRAIT_SPI && f->spi != x->spi)
		return false;
	if (x->mask & TRAIT_FLOW_LABEL && f->flow_label != x->flow_label)
		return false;
	return !differs_after(f->remote[1], x->remote[1], x->remote_bits) &&
	       !differs_after(f->local[1], x->local[1], x->local_bits);
}

/* A filter without ports has all of them. What differs most often comes first. */
static __always_inline bool matches(const struct facts *f, const struct filter *x)
{
	if ((f->traits ^ x->traits) & x->mask)
		return false;
	if ((__u16)(f->remote_port - x->remote_first) > x->remote_more ||
	    (__u16)(f->local_port - x->local_first) > x->local_more)
		return false;
	if (differs(f->remote[0], x->remote[0], x->remote_shift) || differs(f->local[0], x->local[0], x->local_shift))
		return false;
	return likely(!(x->mask & (TRAIT_SPI | TRAIT_FLOW_LABEL | TRAIT_LONG))) || matches_rest(f, x);
}

/* Global functions: verified once. */
#define MATCH_IN(name, map, type, size)                                      \
	__noinline __u32 name(const struct facts *f, __u32 index, __u32 count)  \
	{                                                                       \
		struct type *set = bpf_map_lookup_elem(&map, &index);           \
                                                                                \
		if (!set || !f)                                                 \
			return 0;                                               \
		for (int i = 0; i < size && i < count; i++)                     \
			if (matches(f, &set->filters[i]))                       \
				return set->filters[i].rule;                    \
		return 0;                                                       \
	}

MATCH_IN(match_small, sets_small, set_small, SET_SMALL)
MATCH_IN(match_medium, sets_medium, set_medium, SET_MEDIUM)
MATCH_IN(match_large, sets_large, set_large, SET_LARGE)

/* match returns the rule of the first filter of a set that matches; 0: none does. */
static __always_inline __u32 match(const struct facts *f, __u32 set, __u32 count)
{
	__u32 index = set & ((1U << SET_CLASS_SHIFT) - 1);

	switch (set >> SET_CLASS_SHIFT) {
	case 0:
		return match_small(f, index, count);
	case 1:
		return match_medium(f, index, count);
	default:
		return match_large(f, index, count);
	}
}

/* learn_ports reads what follows the IP header, whose end the cursor is at. Fragments but the first have none. */
static __always_inline void learn_ports(struct facts *f, struct cursor *c, __u8 protocol)
{
	struct cursor at = *c;
	__be16 *ports;
	__be32 *spi;

	f->traits |= protocol << TRAIT_PROTOCOL_SHIFT;
	switch (protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
	case IPPROTO_UDPLITE:
		ports = take(&at, 4);
		if (!ports)
			return;
		f->traits |= TRAIT_PORTS;
		f->remote_port = bpf_ntohs(ports[f->direction == UPLINK]);
		f->local_port = bpf_ntohs(ports[f->direction != UPLINK]);
		return;
	case IPPROTO_AH:
		if (!take(&at, 4))
			return;
		/* fall through */
	case IPPROTO_ESP:
		spi = take(&at, 4);
		if (!spi)
			return;
		f->traits |= TRAIT_SPI;
		f->spi = bpf_ntohl(*spi);
	}
}

/* learn_ipv4: the header was parsed before, and is whole. */
static __always_inline bool learn_ipv4(struct facts *f, struct cursor *c)
{
	struct iphdr *ip = take(c, sizeof(*ip));
	__u64 source, destination;

	if (!ip || !take(c, bounded(ip->ihl * 4 - sizeof(*ip), 0x3f)))
		return false;
	source = (__u64)bpf_ntohl(ip->saddr) << 32;
	destination = (__u64)bpf_ntohl(ip->daddr) << 32;
	f->traits |= ip->tos << TRAIT_TOS_SHIFT;
	f->remote[0] = f->direction == UPLINK ? destination : source;
	f->local[0] = f->direction == UPLINK ? source : destination;
	if (ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
		f->traits |= ip->protocol << TRAIT_PROTOCOL_SHIFT;
	else
		learn_ports(f, c, ip->protocol);
	return true;
}

/* learn_ipv6: the header was parsed before, and is whole. */
static __always_inline bool learn_ipv6(struct facts *f, struct cursor *c)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));
	__be64 halves[4];
	__u8 protocol;
	__u32 first;

	if (!ip)
		return false;
	first = bpf_ntohl(*(const __be32 *)ip);
	__builtin_memcpy(halves, &ip->saddr, sizeof(halves));
	protocol = ip->nexthdr;
	f->traits |= TRAIT_IPV6 | (first >> 20 & 0xff) << TRAIT_TOS_SHIFT;
	f->flow_label = first & 0xfffff;
	for (int i = 0; i < 2; i++) {
		__u64 source = bpf_be64_to_cpu(halves[i]), destination = bpf_be64_to_cpu(halves[2 + i]);

		f->remote[i] = f->direction == UPLINK ? destination : source;
		f->local[i] = f->direction == UPLINK ? source : destination;
	}
	if (skip_to_upper(c, &protocol))
		learn_ports(f, c, protocol);
	else
		f->traits |= protocol << TRAIT_PROTOCOL_SHIFT;
	return true;
}

#endif
