// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Traffic for proofs, made and counted in the kernel: frames that leave a port's far end, as live frames of
 * BPF_PROG_TEST_RUN; a sink at the other far end, which counts what it sees by everything that a rule decides; and a
 * plain redirect, the control. */
#include "gtpu.h"
#include "kernel.h"
#include "layout.h"
#include "parse.h"

enum {
	HEAD_OCTETS = 256, /* of a frame are written anew for each packet: a data path writes over them */
	BATCH = 64,	   /* packets between two looks at the clock: those that the kernel sends at once */
};

struct count {
	__u64 packets;
	__u64 octets; /* of the IP packets that a data path counts */
};

/* ---- generator: one program for each sending thread, so that nothing here is shared ------------------------------ */

struct flow {
	__u32 frame;  /* octets of all of it */
	__u32 head;   /* octets of head that are its beginning */
	__u32 packet; /* octets that count */
	__u32 pad;
	__u8 octets[HEAD_OCTETS];
	struct count sent;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct flow);
	__uint(max_entries, 1);
} flows SEC(".maps");

__u64 flow_count;  /* that take turns; behind them in flows stand as many that lead */
__u64 packets;	   /* to send */
__u64 interval;	   /* ns between two packets; 0: as fast as it goes */
__u64 start;	   /* ns; before it those are sent that lead */
__u64 stop;	   /* ns, when no more are sent; 0: no end */
__u64 longest_gap; /* ns between two batches beyond which the time counts as idle */

__u64 sent;    /* so far */
__u32 leading; /* offset of the flows that are sent */
__u64 begin;   /* ns, of the first packet; of the first that does not lead, when there is a start */
__u64 end;     /* ns, of the last batch */
__u64 idle;    /* ns beyond longest_gap, of all gaps */

static int wait_step(__u32 step, __u64 *due)
{
	return bpf_ktime_get_ns() >= *due;
}

/* keep_pace waits until the next batch is due; false: the time is over. (bpf_loop: Linux 5.17.) */
static __always_inline bool keep_pace(void)
{
	__u64 now = bpf_ktime_get_ns(), due = end + interval * BATCH;

	if (interval && now < due) {
		bpf_loop(1 << 20, wait_step, &due, 0);
		now = due;
	}
	if (stop && now >= stop)
		return false;
	leading = now < start ? flow_count : 0;
	if (leading) {
		end = now;
		return true;
	}
	if (!begin)
		begin = end = now;
	if (now - end > longest_gap)
		idle += now - end - longest_gap;
	end = now;
	return true;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u32 index, octets = distance((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	struct flow *flow;

	if (sent >= packets)
		return XDP_DROP;
	if (sent % BATCH == 0 && !keep_pace()) {
		packets = sent;
		return XDP_DROP;
	}
	index = sent % flow_count + leading;
	flow = bpf_map_lookup_elem(&flows, &index);
	if (!flow || flow->head < 1 || flow->head > HEAD_OCTETS)
		return XDP_ABORTED;
	if (octets != flow->frame && bpf_xdp_adjust_tail(ctx, (int)flow->frame - (int)octets))
		return XDP_ABORTED;
	if (bpf_xdp_store_bytes(ctx, 0, flow->octets, bounded(flow->head - 1, 0xff) + 1))
		return XDP_ABORTED;
	sent++;
	flow->sent.packets++;
	flow->sent.octets += flow->packet;
	return XDP_TX;
}

/* ---- sink ---------------------------------------------------------------------------------------------------------- */

/* What of a packet its rule decides. Of IPv6 addresses the last 32 bits. */
struct sight {
	__be32 local; /* outer source; 0: no tunnel */
	__be32 remote;
	__be32 teid;
	__be32 source; /* of the inner packet */
	__be32 destination;
	__u8 tos; /* outer */
	__u8 inner_tos;
	__u8 qfi; /* NO_QFI: no PDU Session Container */
	__u8 version; /* of the inner packet's IP */
	__u8 mac[ETH_ALEN]; /* destination */
	__u16 vlan; /* with its priority, host order */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__type(key, struct sight);
	__type(value, struct count);
	__uint(max_entries, 16384);
} sights SEC(".maps");

__u64 strange; /* packets that are no IP packets, or had no room in sights */

static __always_inline bool see_inner(struct cursor *c, struct sight *s, __u32 *octets)
{
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	__u8 *version = c->pos;

	if ((void *)(version + 1) > c->end)
		return false;
	s->version = *version >> 4;
	if (s->version == 4) {
		ip = parse_ipv4(c);
		if (!ip)
			return false;
		s->source = ip->saddr;
		s->destination = ip->daddr;
		s->inner_tos = ip->tos;
		*octets = length_of(ip->tot_len);
		return true;
	}
	ip6 = parse_ipv6(c);
	if (!ip6)
		return false;
	s->source = ip6->saddr.s6_addr32[3];
	s->destination = ip6->daddr.s6_addr32[3];
	s->inner_tos = traffic_class(ip6);
	*octets = sizeof(*ip6) + length_of(ip6->payload_len);
	return true;
}

static __always_inline bool see_tunnel(struct cursor *c, struct sight *s, __u32 payload, __u32 *octets)
{
	struct udphdr *udp = parse_udp(c, payload);
	struct gtpu_header *gtpu = take(c, sizeof(*gtpu));
	__u8 qfi = NO_QFI;

	if (!udp || !gtpu || !is_g_pdu(gtpu) || parse_g_pdu(c, udp, gtpu, &qfi) < 0)
		return false;
	s->teid = gtpu->teid;
	s->qfi = qfi;
	return see_inner(c, s, octets);
}

static __always_inline bool is_gtpu(const struct cursor *c)
{
	struct udphdr *udp = c->pos;

	return (void *)(udp + 1) <= c->end && udp->source == bpf_htons(GTPU_PORT) && udp->dest == bpf_htons(GTPU_PORT);
}

/* see looks at a packet whose IP header is next; tunnelled ones are those from port 2152 to port 2152. */
static __always_inline bool see(struct cursor *c, struct sight *s, __be16 proto, __u32 *octets)
{
	struct cursor at = *c;
	struct ipv6hdr *ip6;
	struct iphdr *ip;

	if (proto == bpf_htons(ETH_P_IP)) {
		ip = parse_ipv4(c);
		if (!ip)
			return false;
		if (ip->protocol == IPPROTO_UDP && is_gtpu(c)) {
			s->local = ip->saddr;
			s->remote = ip->daddr;
			s->tos = ip->tos;
			return see_tunnel(c, s, payload_of(ip), octets);
		}
		return see_inner(&at, s, octets);
	}
	ip6 = parse_ipv6(c);
	if (!ip6)
		return false;
	if (ip6->nexthdr == IPPROTO_UDP && is_gtpu(c)) {
		s->local = ip6->saddr.s6_addr32[3];
		s->remote = ip6->daddr.s6_addr32[3];
		s->tos = traffic_class(ip6);
		return see_tunnel(c, s, length_of(ip6->payload_len), octets);
	}
	return see_inner(&at, s, octets);
}

static __always_inline bool count_sight(const struct sight *s, __u32 octets)
{
	struct count *count = bpf_map_lookup_elem(&sights, s), none = {};

	if (!count) { /* another CPU may be first: what counts is that it is there then */
		bpf_map_update_elem(&sights, s, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&sights, s);
		if (!count)
			return false;
	}
	count->packets++;
	count->octets += octets;
	return true;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	struct cursor c = cursor_of(ctx);
	struct ethernet *eth = parse_ethernet(&c);
	struct sight s = { .qfi = NO_QFI };
	__u32 octets = 0;
	__be16 proto, *tag;

	if (!eth)
		return XDP_DROP;
	proto = eth->proto;
	__builtin_memcpy(s.mac, eth->dest, ETH_ALEN);
	if (proto == bpf_htons(ETH_P_8021Q)) {
		tag = take(&c, 4);
		if (!tag)
			return XDP_DROP;
		s.vlan = bpf_ntohs(tag[0]);
		proto = tag[1];
	}
	if (proto != bpf_htons(ETH_P_IP) && proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS; /* of the kernels at both ends: ARP */
	if (!see(&c, &s, proto, &octets) || !count_sight(&s, octets))
		__sync_fetch_and_add(&strange, 1);
	return XDP_DROP;
}

/* ---- control --------------------------------------------------------------------------------------------------------- */

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 2);
} exits SEC(".maps");

volatile const __u32 exit_port;

/* control sends everything on to one port, as it is: what veths lose beside it, they lose of themselves. */
SEC("xdp")
int control(struct xdp_md *ctx)
{
	return bpf_redirect_map(&exits, exit_port, XDP_ABORTED);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
