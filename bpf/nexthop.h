/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the way out: next hops and the redirect. */
#ifndef XEPC_NEXTHOP_H
#define XEPC_NEXTHOP_H

#include "job.h"
#include "maps.h"
#include "parse.h"
#include "reason.h"

/* How many next hops of network instances for IPv4 stand before those for IPv6. */
volatile const __u32 hops_of_ipv6;

/* Where those of the peers begin. That of a peer is found without waiting for the peer. */
volatile const __u32 peers_hops;

/* find_hop is NULL while the next hop is not resolved: such packets are dropped, since neither a decapsulated
 * uplink packet nor a bare downlink packet has any business in the node's own routing. */
static __always_inline struct hop *find_hop(__u32 index)
{
	struct next_hop *next = bpf_map_lookup_elem(&next_hops, &index);
	struct hop *hop;

	if (!next)
		return NULL;
	hop = &next->hops[0]; /* a branch, which the CPU guesses, not an index, which it would wait for */
	if (READ_ONCE(next->active) & 1)
		hop = &next->hops[1];
	return hop->ifindex ? hop : NULL;
}

struct vlan_header {
	struct ethernet eth; /* proto: 802.1Q */
	__be16 tag;
	__be16 proto;
};

/* link_length is how many octets stand before an IP packet that leaves to hop. */
static __always_inline __u32 link_length(const struct hop *hop)
{
	return hop->vlan ? sizeof(struct vlan_header) : sizeof(struct ethernet);
}

/* copy_macs copies both addresses. In words: the compiler would do it octet by octet. */
static __always_inline void copy_macs(void *to, const void *from)
{
	*(__u64 *)to = *(const __u64 *)from;
	*(__u32 *)(to + 8) = *(const __u32 *)(from + 8);
}

/* write_link writes them; NULL when there is no room, else where the IP packet begins. */
static __always_inline void *write_link(struct cursor *c, const struct hop *hop, __be16 proto)
{
	struct ethernet *eth = take(c, sizeof(*eth));
	struct vlan_header *vlan = (void *)eth;

	if (!eth)
		return NULL;
	copy_macs(eth->dest, hop->remote_mac);
	if (likely(!hop->vlan)) {
		eth->proto = proto;
		return c->pos;
	}
	if (!take(c, sizeof(*vlan) - sizeof(*eth)))
		return NULL;
	eth->proto = bpf_htons(ETH_P_8021Q);
	vlan->tag = bpf_htons(hop->vlan);
	vlan->proto = proto;
	return c->pos;
}

/* leave decides how the packet of job goes out to hop: back by the port it came in by, or by another. */
static __always_inline enum reason leave(struct xdp_md *ctx, struct job *job, const struct hop *hop)
{
	if (hop->ifindex == ctx->ingress_ifindex) {
		job->verdict = XDP_TX;
		return GO_ON;
	}
	job->verdict = XDP_REDIRECT;
	return likely(bpf_redirect_map(&tx_ports, hop->ifindex, XDP_ABORTED) == XDP_REDIRECT) ? GO_ON : REASON_PORT_GONE;
}

#endif
