/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the ICMP message that the program sends itself: "fragmentation needed", RFC 792 and RFC 1191 4. */
#ifndef XEPC_ICMP_H
#define XEPC_ICMP_H

#include "parse.h"

#define IP_DONT_FRAGMENT 0x4000

#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4 /* a code of it */

struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 unused;
	__be16 mtu;
};

/* The header of the packet that did not fit, and 64 bits more. */
#define ICMP_QUOTE (sizeof(struct iphdr) + 8)

/* What stands before the quote. */
struct icmp_answer {
	struct ethhdr eth;
	struct iphdr ip;
	struct icmp_header icmp;
} __attribute__((packed));

/* wants_too_big says whether the sender of a packet that does not fit is to be told: it forbade fragments, and RFC 1122
 * 3.2.2 does not forbid the answer. (Headers with options are not answered.) The cursor is behind the header. */
static __always_inline bool wants_too_big(struct cursor *c, const struct iphdr *ip)
{
	__u8 *type;

	if (!(ip->frag_off & bpf_htons(IP_DONT_FRAGMENT)) || ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET) || ip->ihl != 5)
		return false;
	if (bpf_ntohl(ip->saddr) >> 29 == 7 || bpf_ntohl(ip->saddr) >> 24 == 127 || bpf_ntohl(ip->saddr) >> 24 == 0)
		return false;
	if (ip->protocol != IPPROTO_ICMP)
		return true;
	type = c->pos;
	if ((void *)(type + 1) > c->end)
		return false;
	return *type == 0 || *type == 8 || *type > 12; /* an echo, or a query; not an error */
}

static __always_inline __sum16 checksum_of(const void *from, __u32 octets)
{
	__u32 sum = bpf_csum_diff(NULL, 0, (__be32 *)from, octets, 0);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* answer_too_big turns the frame into the message from local to its sender. It is smaller than what it answers. */
__noinline int answer_too_big(struct xdp_md *ctx, __be32 local, __u32 mtu, __u32 poison)
{
	struct icmp_answer *answer;
	struct cursor c = cursor_of(ctx);
	int longer = distance(c.pos, c.end) - (sizeof(struct ethhdr) + ICMP_QUOTE);
	struct ethhdr *old;
	struct iphdr *quote;
	__be32 sender;

	if (bpf_xdp_adjust_tail(ctx, -longer) || bpf_xdp_adjust_head(ctx, -(int)(sizeof(*answer) - sizeof(*old))))
		return false;
	c = cursor_of(ctx);
	answer = take(&c, sizeof(*answer) + ICMP_QUOTE);
	if (!answer)
		return false;
	quote = (void *)(answer + 1);
	old = (void *)quote - sizeof(*old);
	sender = quote->saddr;
	__builtin_memcpy(answer->eth.h_dest, old->h_source, ETH_ALEN);
	__builtin_memcpy(answer->eth.h_source, old->h_dest, ETH_ALEN);
	answer->eth.h_proto = bpf_htons(ETH_P_IP);
	if (poison)
		__builtin_memset(&answer->ip, 0xff, sizeof(answer->ip) + sizeof(answer->icmp));

	answer->ip.version = 4;
	answer->ip.ihl = 5;
	answer->ip.tos = 0;
	answer->ip.tot_len = bpf_htons(sizeof(answer->ip) + sizeof(answer->icmp) + ICMP_QUOTE);
	answer->ip.id = 0; /* RFC 6864: means nothing with DF */
	answer->ip.frag_off = bpf_htons(IP_DONT_FRAGMENT);
	answer->ip.ttl = IPDEFTTL;
	answer->ip.protocol = IPPROTO_ICMP;
	answer->ip.check = 0;
	answer->ip.saddr = local;
	answer->ip.daddr = sender;
	answer->ip.check = checksum_of(&answer->ip, sizeof(answer->ip));

	answer->icmp.type = ICMP_UNREACHABLE;
	answer->icmp.code = ICMP_FRAGMENTATION_NEEDED;
	answer->icmp.checksum = 0;
	answer->icmp.unused = 0;
	answer->icmp.mtu = bpf_htons(mtu);
	answer->icmp.checksum = checksum_of(&answer->icmp, sizeof(answer->icmp) + ICMP_QUOTE);
	return true;
}

#endif
