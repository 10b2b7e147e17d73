/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains what a router does to a packet that it forwards, and to its marks and its MSS. */
#ifndef XEPC_ROUTE_H
#define XEPC_ROUTE_H

#include "job.h"
#include "tcp.h"

/* decrement_ttl with the header checksum, RFC 1624 equation 3. */
static __always_inline void decrement_ttl(struct iphdr *ip)
{
	__u32 check = ip->check + bpf_htons(0x0100);

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
}

/* mark changes the bits of ToS that mask says. */
static __always_inline void mark_ipv4(struct iphdr *ip, __u8 tos, __u8 mask)
{
	__u8 next = (ip->tos & ~mask) | (tos & mask);
	__u32 sum = (__u16)~ip->check + (__u16)~bpf_htons(ip->tos) + bpf_htons(next);

	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~((sum & 0xffff) + (sum >> 16));
	ip->tos = next;
}

static __always_inline void mark_ipv6(struct ipv6hdr *ip, __u8 tos, __u8 mask)
{
	__be32 *first = (__be32 *)ip;

	*first = (*first & bpf_htonl(~((__u32)mask << 20))) | bpf_htonl((__u32)(tos & mask) << 20);
}

/* clamp_syn lowers the MSS that a TCP SYN offers; the header is at that offset of the frame. */
static __always_inline void clamp_syn(struct cursor *c, __u32 offset, __u32 most)
{
	__u8 *flags = (void *)(long)c->ctx->data + offset + TCP_FLAGS;

	if ((void *)(flags + 1) <= c->end && *flags & TCP_FLAG_SYN)
		clamp(c->ctx, offset, most);
}

/* alter does what few packets need: the mark that a rule sets where there is no outer header to carry it, and the MSS of
 * TCP. */
__noinline int alter(struct xdp_md *ctx, __u32 offset, __u32 tos, __u32 mask)
{
	struct cursor c = cursor_of(ctx);
	struct ipv6hdr *ip6;
	struct iphdr *ip;

	offset &= MAX_OFFSET;
	ip = c.pos + offset;
	ip6 = (void *)ip;
	if ((void *)(ip + 1) > c.end)
		return 0;
	if (ip->version == 4) {
		if (mask)
			mark_ipv4(ip, tos, mask);
		if (clamp_ipv4 && ip->protocol == IPPROTO_TCP && !(ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET)))
			clamp_syn(&c, offset + ip->ihl * 4, clamp_ipv4);
		return 0;
	}
	if ((void *)(ip6 + 1) > c.end)
		return 0;
	if (mask)
		mark_ipv6(ip6, tos, mask);
	if (clamp_ipv6 && ip6->nexthdr == IPPROTO_TCP)
		clamp_syn(&c, offset + sizeof(*ip6), clamp_ipv6);
	return 0;
}

/* route_packet is what a router does to the packet: a hop less. False: it is cut short. */
static __always_inline bool route_packet(struct cursor *c, const struct job *job, const struct rule *rule)
{
	void *inner = (void *)(long)c->ctx->data + (job->offset & MAX_OFFSET);
	struct ipv6hdr *ip6 = inner;
	struct iphdr *ip = inner;
	__u8 protocol;

	if (likely(job->family == FILTER_IPV4)) {
		if ((void *)(ip + 1) > c->end)
			return false;
		decrement_ttl(ip);
		protocol = ip->protocol;
	} else {
		if ((void *)(ip6 + 1) > c->end)
			return false;
		ip6->hop_limit--;
		protocol = ip6->nexthdr;
	}
	if (unlikely(rule && rule->tos_mask && !(job->at.word.flags & ENTRY_TUNNEL)))
		alter(c->ctx, job->offset, rule->tos, rule->tos_mask);
	else if ((clamp_ipv4 || clamp_ipv6) && protocol == IPPROTO_TCP)
		alter(c->ctx, job->offset, 0, 0);
	return true;
}

#endif
