/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the ICMP messages that the program sends itself: "too big", in IPv4 "fragmentation needed" (RFC 792, RFC
 * 1191 4), in IPv6 "packet too big" (RFC 4443 3.2); and "time exceeded" (RFC 792, RFC 4443 3.3). */
#ifndef XEPC_ICMP_H
#define XEPC_ICMP_H

#include "budget.h"
#include "checksum.h"
#include "parse.h"

#define IP_DONT_FRAGMENT 0x4000

#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4 /* a code of it */

#define ICMP_TIME_EXCEEDED 11

#define ICMPV6_PACKET_TOO_BIG 2
#define ICMPV6_TIME_EXCEEDED 3
#define ICMPV6_INFORMATIONAL 128 /* types from here on are no errors, */
#define ICMPV6_REDIRECT 137      /* but this is as good as one: RFC 4443 2.4 e.2 */

#define IPV6_MINIMUM_MTU 1280 /* RFC 8200 5: no sender goes below */

/* What stands before the quote. */
struct icmp_message {
	struct iphdr ip;
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 unused;
	__be16 mtu;
} __attribute__((packed));

struct icmp6_message {
	struct ipv6hdr ip;
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 mtu;
} __attribute__((packed));

/* What one says about a packet. */
struct icmp_error {
	__u8 type;
	__u8 code;
	__u16 pad;
	__u32 mtu;   /* of "too big"; else 0 */
	__u32 quote; /* octets of the packet that are quoted */
};

/* How much of the packet is quoted at most: as much as the message may hold, RFC 1812 4.3.2.3 and RFC 4443 3.2. */
enum {
	ICMP_QUOTE = 576 - sizeof(struct icmp_message),
	ICMP6_QUOTE = IPV6_MINIMUM_MTU - sizeof(struct icmp6_message),
};

/* Where a message may begin in the frame: a mask. */
#define MESSAGE_OFFSET 0xff

/* Messages a second on one CPU (RFC 4443 2.4 f, RFC 1812 4.3.2.8), and as many at once. */
volatile const __u32 icmp_rate;

static __always_inline bool may_tell(void)
{
	return take_one(BUDGET_ICMP, icmp_rate);
}

/* may_be_told says whether the sender of a packet may get an ICMP error about it: RFC 1122 3.2.2 does not forbid the answer.
 * (Headers with options are not answered.) The cursor is behind the header. */
static __always_inline bool may_be_told(struct cursor *c, const struct iphdr *ip)
{
	__u8 *type;

	if (ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET) || ip->ihl != 5)
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

#define ICMP6_EXTENSIONS 4 /* that are looked behind */

/* may_be_told6 likewise: no answer to what is not from one node, or may be an error itself (RFC 4443 2.4 e). */
static __always_inline bool may_be_told6(struct cursor *c, const struct ipv6hdr *ip)
{
	__u8 next = ip->nexthdr, *header;
	__be64 source[2];

	__builtin_memcpy(source, &ip->saddr, sizeof(source));
	if (ip->saddr.in6_u.u6_addr8[0] == 0xff || (!source[0] && !bpf_ntohl(ip->saddr.in6_u.u6_addr32[2])))
		return false; /* multicast; unspecified, loopback and what stands for IPv4 */
	if (ip->saddr.in6_u.u6_addr8[0] == 0xfe && (ip->saddr.in6_u.u6_addr8[1] & 0xc0) == 0x80)
		return false; /* link-local */
	for (int i = 0; i < ICMP6_EXTENSIONS && is_extension(next); i++) {
		header = take(c, 8);
		if (!header)
			return false;
		if (next == IPPROTO_FRAGMENT) {
			if ((header[2] << 8 | header[3]) & 0xfff8)
				return header[0] != IPPROTO_ICMPV6; /* not the first: its type is not here */
		} else if (!take(c, bounded(header[1] * 8, 0x7ff))) {
			return false;
		}
		next = header[0];
	}
	if (is_extension(next))
		return false;
	if (next != IPPROTO_ICMPV6)
		return true;
	header = c->pos;
	return (void *)(header + 1) <= c->end && *header >= ICMPV6_INFORMATIONAL && *header != ICMPV6_REDIRECT;
}

/* write_error writes the message from local, offset octets into the frame and before the packet that it quotes, whose
 * sender gets it. False: the frame is too short. */
__noinline int write_error(struct xdp_md *ctx, __u32 offset, __be32 local, const struct icmp_error *error, __u32 poison)
{
	struct icmp_message *message;
	struct cursor c = cursor_of(ctx);
	__u16 header, whole;

	if (!error)
		return false;
	offset &= MESSAGE_OFFSET;
	c.pos += offset;
	message = take(&c, sizeof(*message) + sizeof(struct iphdr));
	if (!message)
		return false;
	if (poison)
		__builtin_memset(message, 0xff, sizeof(*message));
	message->ip.version = 4;
	message->ip.ihl = 5;
	message->ip.tos = 0;
	message->ip.tot_len = bpf_htons(sizeof(*message) + error->quote);
	message->ip.id = 0; /* RFC 6864: means nothing with DF */
	message->ip.frag_off = bpf_htons(IP_DONT_FRAGMENT);
	message->ip.ttl = IPDEFTTL;
	message->ip.protocol = IPPROTO_ICMP;
	message->ip.check = 0;
	message->ip.saddr = local;
	message->ip.daddr = ((struct iphdr *)(message + 1))->saddr;
	message->type = error->type;
	message->code = error->code;
	message->checksum = 0;
	message->unused = 0;
	message->mtu = bpf_htons(error->mtu);

	header = checksum_of(ctx, offset, sizeof(message->ip), 0);
	whole = checksum_of(ctx, offset + sizeof(message->ip), sizeof(*message) - sizeof(message->ip) + error->quote, 0);
	c = cursor_of(ctx);
	c.pos += offset;
	message = take(&c, sizeof(*message));
	if (!message)
		return false;
	message->ip.check = header;
	message->checksum = whole;
	return true;
}

__noinline int write_error6(struct xdp_md *ctx, __u32 offset, const struct in6_addr *local, const struct icmp_error *error, __u32 poison)
{
	struct icmp6_message *message;
	struct cursor c = cursor_of(ctx);
	__u32 sum;
	__u16 check;

	if (!local || !error)
		return false;
	offset &= MESSAGE_OFFSET;
	c.pos += offset;
	message = take(&c, sizeof(*message) + sizeof(struct ipv6hdr));
	if (!message)
		return false;
	if (poison)
		__builtin_memset(message, 0xff, sizeof(*message));
	*(__be32 *)message = bpf_htonl(6U << 28);
	sum = sizeof(*message) - sizeof(message->ip) + error->quote;
	message->ip.payload_len = bpf_htons(sum);
	message->ip.nexthdr = IPPROTO_ICMPV6;
	message->ip.hop_limit = IPDEFTTL;
	message->ip.saddr = *local;
	message->ip.daddr = ((struct ipv6hdr *)(message + 1))->saddr;
	message->type = error->type;
	message->code = error->code;
	message->checksum = 0;
	message->mtu = bpf_htonl(error->mtu);

	sum = bpf_htons(sum) + bpf_htons(IPPROTO_ICMPV6);
	sum += (__u16)~checksum_of(ctx, offset + offsetof(struct ipv6hdr, saddr), 32, 0);
	check = checksum_of(ctx, offset + sizeof(message->ip), sizeof(*message) - sizeof(message->ip) + error->quote, sum);
	c = cursor_of(ctx);
	c.pos += offset;
	message = take(&c, sizeof(*message));
	if (!message)
		return false;
	message->checksum = check;
	return true;
}

#endif
