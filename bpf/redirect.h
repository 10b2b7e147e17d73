/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains redirection, TS 29.244 8.2.20: another destination for a packet to a network, or an answer in the
 * place of the network. As to the first: Checksums are mended,
 * so that a wrong one stays wrong (RFC 1624 equation 3). The standard knows no way back: what the redirect server sends
 * comes from its own address. */
#ifndef XEPC_REDIRECT_H
#define XEPC_REDIRECT_H

#include "budget.h"
#include "maps.h"
#include "parse.h"
#include "reason.h"
#include "slowpath.h"

/* change_of is what a ones' complement sum changes by when words of 32 bits become others. */
static __always_inline __u32 change_of(const __u32 *old, const __u32 *next, int words)
{
	__u64 sum = 0;

	for (int i = 0; i < words; i++)
		sum += (__u64)(__u32)~old[i] + next[i];
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline void mend(__sum16 *check, __u32 change)
{
	__u32 sum = (__u16)~*check + change;

	sum = (sum & 0xffff) + (sum >> 16);
	*check = ~((sum & 0xffff) + (sum >> 16));
}

/* mend_upper mends the checksum of a header whose sum has the addresses in it, and that the cursor is at. */
static __always_inline void mend_upper(struct cursor *c, __u8 protocol, __u32 change, bool ipv6)
{
	struct tcphdr *tcp;
	struct udphdr *udp;
	__sum16 *icmp;

	switch (protocol) {
	case IPPROTO_TCP:
		tcp = take(c, sizeof(*tcp));
		if (tcp)
			mend(&tcp->check, change);
		return;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_DCCP: /* its checksum stands where UDP's does */
		udp = take(c, sizeof(*udp));
		if (!udp || (!udp->check && protocol == IPPROTO_UDP))
			return;
		mend(&udp->check, change);
		if (!udp->check && protocol == IPPROTO_UDP)
			udp->check = 0xffff;
		return;
	case IPPROTO_ICMPV6:
		icmp = take(c, 2 * sizeof(*icmp));
		if (icmp && ipv6)
			mend(icmp + 1, change);
		return;
	}
}

static __always_inline enum reason redirect_ipv4(struct cursor *c, __be32 to)
{
	struct iphdr *ip = take(c, sizeof(*ip));
	__u32 change;

	if (!ip || !take(c, bounded(ip->ihl * 4 - sizeof(*ip), 0x3f)))
		return REASON_MALFORMED_INNER;
	if (!to)
		return REASON_NO_REDIRECT;
	change = change_of(&ip->daddr, &to, 1);
	ip->daddr = to;
	mend(&ip->check, change);
	if (!(ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET)))
		mend_upper(c, ip->protocol, change, false);
	return GO_ON;
}

/* redirect_ipv6: with a routing header the destination in the sum may be another, which is for the sender to have used. */
static __always_inline enum reason redirect_ipv6(struct cursor *c, const __be64 *to)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));
	__u32 old[4], next[4], change;
	__u8 protocol;

	if (!ip)
		return REASON_MALFORMED_INNER;
	if (!(to[0] | to[1]))
		return REASON_NO_REDIRECT;
	__builtin_memcpy(old, &ip->daddr, sizeof(old));
	__builtin_memcpy(next, to, sizeof(next));
	change = change_of(old, next, 4);
	__builtin_memcpy(&ip->daddr, next, sizeof(next));
	protocol = ip->nexthdr;
	if (skip_to_upper(c, &protocol))
		mend_upper(c, protocol, change, true);
	return GO_ON;
}

/* redirect sends the inner packet, which begins offset octets into the frame, elsewhere. */
__noinline int redirect(struct xdp_md *ctx, __u32 offset, __u32 index)
{
	struct special *special = bpf_map_lookup_elem(&specials, &index);
	struct cursor c = cursor_of(ctx);
	__u8 *version;

	if (!special)
		return REASON_NO_RESOURCES;
	c.pos += offset & MAX_OFFSET;
	version = c.pos;
	if ((void *)(version + 1) > c.end)
		return REASON_MALFORMED_INNER;
	return *version >> 4 == 4 ? redirect_ipv4(&c, special->redirect4) : redirect_ipv6(&c, special->redirect6);
}

/* Packets a second on one CPU: what the slow path answers beside its other work. */
volatile const __u32 url_rate;

/* redirect_to_url hands a packet to the slow path, which answers it, if it is TCP and whole. */
__noinline int redirect_to_url(struct xdp_md *ctx, const struct job *job)
{
	struct cursor c = cursor_of(ctx);
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	bool tcp;

	if (!job)
		return REASON_NO_RESOURCES;
	c.pos += job->offset & MAX_OFFSET;
	ip = c.pos;
	ip6 = c.pos;
	if ((void *)(ip + 1) > c.end)
		return REASON_MALFORMED_INNER;
	if (job->family == FILTER_IPV4)
		tcp = ip->protocol == IPPROTO_TCP && !is_fragment(ip);
	else if ((void *)(ip6 + 1) > c.end)
		return REASON_MALFORMED_INNER;
	else
		tcp = ip6->nexthdr == IPPROTO_TCP;
	if (!tcp)
		return REASON_NO_REDIRECT;
	if (!take_one(BUDGET_URL, url_rate))
		return REASON_URL_LIMITED;
	return park(ctx, job, false) ? REASON_URL_REDIRECTED : REASON_BUFFER_FULL;
}

#endif
