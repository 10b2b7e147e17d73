/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the way out: next hops and the redirect. */
#ifndef XEPC_NEXTHOP_H
#define XEPC_NEXTHOP_H

#include "maps.h"
#include "parse.h"
#include "reason.h"

/* find_hop is NULL while the next hop is not resolved: such packets are dropped, since neither a decapsulated
 * uplink packet nor a bare downlink packet has any business in the node's own routing. */
static __always_inline struct hop *find_hop(__u32 index)
{
	struct next_hop *next = bpf_map_lookup_elem(&next_hops, &index);
	struct hop *hop;

	if (!next)
		return NULL;
	hop = &next->hops[READ_ONCE(next->active) & 1];
	return hop->ifindex ? hop : NULL;
}

static __always_inline void write_ethernet(struct ethhdr *eth, const struct hop *hop)
{
	__builtin_memcpy(eth->h_dest, hop->remote_mac, 2 * ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IP);
}

/* leave decides how the packet goes out to hop: back by the port it came in by, or by another. */
static __always_inline enum reason leave(struct cursor *c, const struct hop *hop)
{
	if (hop->ifindex == c->ctx->ingress_ifindex) {
		c->verdict = XDP_TX;
		return GO_ON;
	}
	c->verdict = bpf_redirect_map(&tx_ports, hop->ifindex, XDP_ABORTED);
	return c->verdict == XDP_REDIRECT ? GO_ON : REASON_PORT_GONE;
}

#endif
