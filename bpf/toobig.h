/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains what senders of packets that do not fit are told, and how it gets to them. */
#ifndef XEPC_TOOBIG_H
#define XEPC_TOOBIG_H

#include "choose.h"
#include "icmp.h"
#include "job.h"
#include "send.h"

/* message_octets is how many the message about the packet before it takes, and quote_octets how many of them are quoted. */
static __always_inline __u32 message_octets(const struct job *job)
{
	return job->family == FILTER_IPV4 ? sizeof(struct icmp_message) : sizeof(struct icmp6_message);
}

static __always_inline __u32 quote_octets(const struct job *job)
{
	return job->family == FILTER_IPV4 ? ICMP_QUOTE : ICMP6_QUOTE;
}

/* write_message writes it before the packet of job, and cuts that. False: there is no room. */
static __always_inline bool write_message(struct xdp_md *ctx, const struct job *job, const struct instance *instance,
					  __u32 offset, __u32 mtu)
{
	if (job->family == FILTER_IPV4)
		return write_too_big(ctx, offset, instance->local, mtu, poison_headroom);
	return write_too_big6(ctx, offset, (const struct in6_addr *)instance->local6, mtu, poison_headroom);
}

static __always_inline bool cut_to_quote(struct xdp_md *ctx, const struct job *job)
{
	struct cursor c = cursor_of(ctx);
	__u32 frame = distance(c.pos, c.end), left = job->offset + quote_octets(job);

	return frame >= left && !bpf_xdp_adjust_tail(ctx, (int)left - (int)frame);
}

/* tell_network sends the message back to where the packet came from, by its port and with its VLAN tag. */
__noinline int tell_network(struct xdp_md *ctx, struct job *job, const struct instance *instance, __u32 mtu)
{
	struct vlan_header *old, *new;
	struct cursor c;
	__u32 grow;

	if (!job || !instance)
		return REASON_NO_RESOURCES;
	grow = message_octets(job);
	if (!cut_to_quote(ctx, job) || bpf_xdp_adjust_head(ctx, -(int)grow))
		return REASON_TOO_BIG;
	c = cursor_of(ctx);
	new = c.pos;
	old = c.pos + (grow & 0x3f);
	if ((void *)(new + 1) > c.end || (void *)(old + 1) > c.end)
		return REASON_TOO_BIG;
	__builtin_memcpy(new->eth.dest, old->eth.source, ETH_ALEN);
	__builtin_memcpy(new->eth.source, old->eth.dest, ETH_ALEN);
	new->eth.proto = old->eth.proto;
	if (job->offset == sizeof(*new)) {
		new->tag = old->tag;
		new->proto = old->proto;
	}
	if (!write_message(ctx, job, instance, job->offset, mtu))
		return REASON_TOO_BIG;
	job->verdict = XDP_TX;
	return REASON_TOO_BIG_ANSWERED;
}

/* tell_ue sends the message into the tunnel of the UE that the packet came from, by the rule that takes it. It is the
 * node's own: neither policed nor counted. */
__noinline int tell_ue(struct xdp_md *ctx, struct job *job, const struct instance *instance, __u32 mtu)
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

	if (!job || !instance)
		return REASON_NO_RESOURCES;
	down.family = job->family;
	down.instance = job->at.word.to;
	down.octets = message_octets(job) + quote_octets(job);
	down.offset = job->offset - message_octets(job); /* what was the tunnel's header */
	if (down.offset > MESSAGE_OFFSET)
		return REASON_TOO_BIG; /* a tunnel's header of several hundred octets */
	ip = c.pos + (job->offset & MAX_OFFSET);
	ip6 = (void *)ip;
	if (job->family == FILTER_IPV4)
		entry = (void *)(ip + 1) <= c.end ? find_ue4(down.instance, ip->saddr, &down.at, &around) : NULL;
	else
		entry = (void *)(ip6 + 1) <= c.end ? find_ue6(down.instance, &ip6->saddr, &down.at) : NULL;
	if (!entry || !cut_to_quote(ctx, job) || !write_message(ctx, job, instance, down.offset, mtu))
		return REASON_TOO_BIG;
	reason = down.at.word.flags & ENTRY_SET ? choose_of_set(ctx, &down) : check_flags(down.at.word.flags);
	if (reason != GO_ON || !(down.at.word.flags & ENTRY_TUNNEL) || down.at.word.flags & ENTRY_BUFFER)
		return REASON_TOO_BIG;
	index = down.at.word.to;
	peer = bpf_map_lookup_elem(&peers, &index);
	if (!peer)
		return REASON_NO_RESOURCES;
	hop = find_hop(index + peers_hops);
	if (!hop || down.octets + peer->outer > hop->mtu)
		return REASON_TOO_BIG;
	c = cursor_of(ctx);
	reason = send_tunnelled(&c, &down, peer, hop, 0);
	if (reason != GO_ON)
		return reason;
	job->verdict = down.verdict;
	return REASON_TOO_BIG_TOLD_UE;
}

/* tell_too_big tells the sender of a packet that did not fit, at a bounded rate. job is the packet as it came in. */
__noinline int tell_too_big(struct xdp_md *ctx, struct job *job)
{
	struct cursor c = cursor_of(ctx);
	struct instance *instance;
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	__u32 number, mtu;

	if (!job)
		return REASON_NO_RESOURCES;
	mtu = job->mtu;
	if (job->by_teid && (job->direction != UPLINK || job->at.word.flags & ENTRY_TUNNEL))
		return REASON_TOO_BIG; /* between UE and CP function */
	if (!job->by_teid && job->offset > sizeof(struct vlan_header))
		return REASON_TOO_BIG;
	number = job->by_teid ? job->at.word.to : job->instance;
	instance = bpf_map_lookup_elem(&instances, &number);
	if (!instance)
		return REASON_TOO_BIG;
	c.pos += job->offset & MAX_OFFSET;
	if (job->family == FILTER_IPV4) {
		ip = parse_ipv4(&c);
		if (!ip || !instance->local || job->octets < ICMP_QUOTE || mtu > 0xffff || !wants_too_big(&c, ip))
			return REASON_TOO_BIG;
	} else {
		ip6 = parse_ipv6(&c);
		if (!ip6 || !(instance->local6[0] | instance->local6[1]) || job->octets <= IPV6_MINIMUM_MTU || mtu > 0xffff ||
		    !wants_too_big6(&c, ip6))
			return REASON_TOO_BIG;
		if (mtu < IPV6_MINIMUM_MTU)
			mtu = IPV6_MINIMUM_MTU;
	}
	if (!may_tell())
		return REASON_TOO_BIG_LIMITED;
	return job->by_teid ? tell_ue(ctx, job, instance, mtu) : tell_network(ctx, job, instance, mtu);
}

#endif
