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
	__u16 remote_port;
	__u16 local_port;
	__u32 spi;
	__u32 flow_label;
	__u8 family; /* FILTER_IPV4 or FILTER_IPV6 */
	__u8 protocol;
	__u8 tos;
	__u8 qfi;
	__u8 has; /* FILTER_PORTS, FILTER_SPI */
	__u8 direction;
	__u8 pad[2];
};

static __always_inline bool in_prefix(const __u64 *address, const __u64 *prefix, __u32 bits)
{
	__u32 high = bits < 64 ? bits : 64;

	if (high && (address[0] ^ prefix[0]) >> ((64 - high) & 63))
		return false;
	return bits <= 64 || !((address[1] ^ prefix[1]) >> ((128 - bits) & 63));
}

static __always_inline bool matches(const struct facts *f, const struct filter *x)
{
	if (!(x->flags & f->family))
		return false;
	if (x->flags & FILTER_PROTOCOL && x->protocol != f->protocol)
		return false;
	if ((f->tos ^ x->tos) & x->tos_mask)
		return false;
	if (!in_prefix(f->remote, x->remote, x->remote_bits) || !in_prefix(f->local, x->local, x->local_bits))
		return false;
	if (x->flags & FILTER_PORTS &&
	    (!(f->has & FILTER_PORTS) || f->remote_port < x->remote_first || f->remote_port > x->remote_last ||
	     f->local_port < x->local_first || f->local_port > x->local_last))
		return false;
	if (x->flags & FILTER_SPI && (!(f->has & FILTER_SPI) || f->spi != x->spi))
		return false;
	if (x->flags & FILTER_FLOW_LABEL && (f->family != FILTER_IPV6 || f->flow_label != x->flow_label))
		return false;
	return !(x->flags & FILTER_QFI) || f->qfi == x->qfi;
}

#define MATCH_IN(name, map, type, size)                                                     \
	__noinline __u32 name(const struct facts *f, __u32 index)                           \
	{                                                                                   \
		struct type *set = bpf_map_lookup_elem(&map, &index); /* global: verified once */ \
                                                                                            \
		if (!set || !f)                                                             \
			return 0;                                                           \
		for (int i = 0; i < size && i < set->count; i++)                       \
			if (matches(f, &set->filters[i]))                                   \
				return set->filters[i].rule;                                \
		return 0;                                                                   \
	}

MATCH_IN(match_small, sets_small, set_small, SET_SMALL)
MATCH_IN(match_medium, sets_medium, set_medium, SET_MEDIUM)
MATCH_IN(match_large, sets_large, set_large, SET_LARGE)

/* match returns the rule of the first filter that matches; 0: none does. */
static __always_inline __u32 match(const struct facts *f, __u32 set)
{
	__u32 index = set & ((1U << SET_CLASS_SHIFT) - 1);

	switch (set >> SET_CLASS_SHIFT) {
	case 0:
		return match_small(f, index);
	case 1:
		return match_medium(f, index);
	default:
		return match_large(f, index);
	}
}

/* learn_ports reads what follows the IP header, whose end the cursor is at; fragments but the first have none. */
static __always_inline void learn_ports(struct facts *f, struct cursor *c)
{
	struct cursor at = *c;
	__be16 *ports;
	__be32 *spi;

	switch (f->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
	case IPPROTO_UDPLITE:
		ports = take(&at, 4);
		if (!ports)
			return;
		f->has |= FILTER_PORTS;
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
		f->has |= FILTER_SPI;
		f->spi = bpf_ntohl(*spi);
	}
}

static __always_inline void learn_ipv4(struct facts *f, struct cursor *c, const struct iphdr *ip)
{
	__u64 source = (__u64)bpf_ntohl(ip->saddr) << 32, destination = (__u64)bpf_ntohl(ip->daddr) << 32;

	f->family = FILTER_IPV4;
	f->protocol = ip->protocol;
	f->tos = ip->tos;
	f->remote[0] = f->direction == UPLINK ? destination : source;
	f->local[0] = f->direction == UPLINK ? source : destination;
	if (!(ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET)))
		learn_ports(f, c);
}

#define IPV6_EXTENSIONS 4 /* that are looked behind */

/* learn_ipv6 looks behind hop-by-hop, routing and destination options and the first fragment's header. */
static __always_inline void learn_ipv6(struct facts *f, struct cursor *c, const struct ipv6hdr *ip)
{
	__be64 halves[4];
	__u32 first = bpf_ntohl(*(const __be32 *)ip);
	struct cursor at = *c;
	__u8 *header;

	__builtin_memcpy(halves, &ip->saddr, sizeof(halves));
	f->family = FILTER_IPV6;
	f->protocol = ip->nexthdr;
	f->tos = first >> 20;
	f->flow_label = first & 0xfffff;
	for (int i = 0; i < 2; i++) {
		__u64 source = bpf_be64_to_cpu(halves[i]), destination = bpf_be64_to_cpu(halves[2 + i]);

		f->remote[i] = f->direction == UPLINK ? destination : source;
		f->local[i] = f->direction == UPLINK ? source : destination;
	}
	for (int i = 0; i < IPV6_EXTENSIONS; i++) {
		if (f->protocol != IPPROTO_HOPOPTS && f->protocol != IPPROTO_ROUTING &&
		    f->protocol != IPPROTO_DSTOPTS && f->protocol != IPPROTO_FRAGMENT)
			break;
		header = take(&at, 8);
		if (!header)
			return;
		if (f->protocol == IPPROTO_FRAGMENT) {
			bool later = (header[2] << 8 | header[3]) & 0xfff8;

			f->protocol = header[0];
			if (later)
				return;
			continue;
		}
		f->protocol = header[0];
		if (!take(&at, bounded(header[1] * 8, 0x7ff)))
			return;
	}
	learn_ports(f, &at);
}

#endif
