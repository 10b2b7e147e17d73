/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains what senders of packets are told that do not fit, or have no hop left, and how it gets to them. */
#ifndef XEPC_TELL_H
#define XEPC_TELL_H

#include "choose.h"
#include "icmp.h"
#include "job.h"
#include "send.h"

/* message_octets is how many the message about the packet takes before its quote, and quote_octets how many of the packet are
 * quoted at most. */
static __always_inline __u32 message_octets(const struct job *job)
{
	return job->family == FILTER_IPV4 ? sizeof(struct icmp_message) : sizeof(struct icmp6_message);
}

static __always_inline __u32 quote_octets(const struct job *job)
{
	return job->family == FILTER_IPV4 ? ICMP_QUOTE : ICMP6_QUOTE;
}

/* write_message writes it before the packet of job, which is cut already. False: there is no room. */
static __always_inline bool write_message(struct xdp_md *ctx, const struct job *job, const struct instance *instance,
					  __u32 offset, const struct icmp_error *error)
{
	if (job->family == FILTER_IPV4)
		return write_error(ctx, offset, instance->local, error, poison_headroom);
	return write_error6(ctx, offset, (const struct in6_addr *)instance->local6, error, poison_headroom);
}

static __always_inline bool cut_to_quote(struct xdp_md *ctx, const struct job *job, const struct icmp_error *error)
{
	struct cursor c = cursor_of(ctx);
	__u32 frame = distance(c.pos, c.end), left = job->offset + error->quote;

	return frame >= left && !bpf_xdp_adjust_tail(ctx, (int)left - (int)frame);
}

/* tell_network sends the message back to where the packet came from, by its port and with its VLAN tag. False: it cannot. */
__noinline int tell_network(struct xdp_md *ctx, struct job *job, const struct instance *instance, const struct icmp_error *error)
{
	struct vlan_header *old, *new;
	struct cursor c;
	__u32 grow;

	if (!job || !instance || !error)
		return false;
	grow = message_octets(job);
	if (!cut_to_quote(ctx, job, error) || bpf_xdp_adjust_head(ctx, -(int)grow))
		return false;
	c = cursor_of(ctx);
	new = c.pos;
	old = c.pos + (grow & 0x3f);
	if ((void *)(new + 1) > c.end || (void *)(old + 1) > c.end)
		return false;
	__builtin_memcpy(new->eth.dest, old->eth.source, ETH_ALEN);
	__builtin_memcpy(new->eth.source, old->eth.dest, ETH_ALEN);
	new->eth.proto = old->eth.proto;
	if (job->offset == sizeof(*new)) {
		new->tag = old->tag;
		new->proto = old->proto;
	}
	if (!write_message(ctx, job, instance, job->offset, error))
		return false;
	job->verdict = XDP_TX;
	return true;
}

/* tell_ue sends the message into the tunnel of the UE that the packet came from, by the rule that takes it. It is the
 * node's own: neither policed nor counted. False: it cannot. */
__noinline int tell_ue(struct xdp_md *ctx, struct job *job, const struct instance *instance, const struct icmp_error *error)
{
	struct cursor c = cursor_of(ctx);
	struct job down = { .qfi = NO_QFI, .direction = DOWNLINK };
	struct ipv6hdr *ip6;
	struct entry *entry;
	enum reason reason;
	struct peer *peer;
	struct iphdr *ip;
	struct hop *hop;
	__u32 index;
	bool around;

	if (!job || !instance || !error)
		return false;
	down.family = job->family;
	down.instance = job->at.word.to;
	down.octets = message_octets(job) + error->quote;
	down.offset = job->offset - message_octets(job); /* what was the tunnel's header */
	if (down.offset > MESSAGE_OFFSET)
		return false; /* a tunnel's header of several hundred octets */
	ip = c.pos + (job->offset & MAX_OFFSET);
	ip6 = (void *)ip;
	if (job->family == FILTER_IPV4)
		entry = (void *)(ip + 1) <= c.end ? find_ue4(down.instance, ip->saddr, &down.at, &around) : NULL;
	else
		entry = (void *)(ip6 + 1) <= c.end ? find_ue6(down.instance, &ip6->saddr, &down.at) : NULL;
	if (!entry || !cut_to_quote(ctx, job, error) || !write_message(ctx, job, instance, down.offset, error))
		return false;
	reason = down.at.word.flags & ENTRY_SET ? choose_of_set(ctx, &down) : check_flags(down.at.word.flags);
	if (reason != GO_ON || !(down.at.word.flags & ENTRY_TUNNEL) || down.at.word.flags & ENTRY_BUFFER)
		return false;
	index = down.at.word.to;
	peer = bpf_map_lookup_elem(&peers, &index);
	if (!peer)
		return false;
	hop = find_hop(index + peers_hops);
	if (!hop || down.octets + peer->outer > hop->mtu)
		return false;
	c = cursor_of(ctx);
	if (send_tunnelled(&c, &down, peer, hop, 0) != GO_ON)
		return false;
	job->verdict = down.verdict;
	return true;
}

/* is_told: of a packet that is dropped for that reason the sender may hear. */
static __always_inline bool is_told(enum reason reason)
{
	return reason == REASON_TOO_BIG || reason == REASON_TTL_EXPIRED;
}

/* tell tells the sender of a packet that is dropped for a reason that is_told, at a bounded rate. job is the packet as it came
 * in. It returns the reason, or what became of the packet instead. */
__noinline int tell(struct xdp_md *ctx, struct job *job, __u32 reason)
{
	struct cursor c = cursor_of(ctx);
	bool too_big = reason == REASON_TOO_BIG;
	struct icmp_error error = {};
	struct instance *instance;
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	__u32 number;

	if (!job)
		return REASON_NO_RESOURCES;
	if (job->by_teid && (job->direction != UPLINK || job->at.word.flags & ENTRY_TUNNEL))
		return reason; /* between UE and CP function */
	if (!job->by_teid && job->offset > sizeof(struct vlan_header))
		return reason;
	number = job->by_teid ? job->at.word.to : job->instance;
	instance = bpf_map_lookup_elem(&instances, &number);
	if (!instance)
		return reason;
	error.mtu = too_big ? job->mtu : 0;
	if (error.mtu > 0xffff)
		return reason;
	error.quote = job->octets < quote_octets(job) ? job->octets : quote_octets(job);
	c.pos += job->offset & MAX_OFFSET;
	if (job->family == FILTER_IPV4) {
		ip = parse_ipv4(&c);
		if (!ip || !instance->local || !may_be_told(&c, ip))
			return reason;
		/* whoever allows fragments does not want to know; smaller ones fit everywhere, or nothing can help */
		if (too_big && (!(ip->frag_off & bpf_htons(IP_DONT_FRAGMENT)) || job->octets < ICMP_QUOTE))
			return reason;
		error.type = too_big ? ICMP_UNREACHABLE : ICMP_TIME_EXCEEDED;
		error.code = too_big ? ICMP_FRAGMENTATION_NEEDED : 0;
	} else {
		ip6 = parse_ipv6(&c);
		if (!ip6 || !(instance->local6[0] | instance->local6[1]) || !may_be_told6(&c, ip6))
			return reason;
		if (too_big && job->octets <= IPV6_MINIMUM_MTU)
			return reason;
		error.type = too_big ? ICMPV6_PACKET_TOO_BIG : ICMPV6_TIME_EXCEEDED;
		if (too_big && error.mtu < IPV6_MINIMUM_MTU)
			error.mtu = IPV6_MINIMUM_MTU;
	}
	if (!may_tell())
		return too_big ? REASON_TOO_BIG_LIMITED : REASON_TTL_EXPIRED_LIMITED;
	if (job->by_teid) {
		if (!tell_ue(ctx, job, instance, &error))
			return reason;
		return too_big ? REASON_TOO_BIG_TOLD_UE : REASON_TTL_EXPIRED_TOLD_UE;
	}
	if (!tell_network(ctx, job, instance, &error))
		return reason;
	return too_big ? REASON_TOO_BIG_ANSWERED : REASON_TTL_EXPIRED_ANSWERED;
}

#endif
