// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* The harness of the data path's benchmark. BPF_PROG_TEST_RUN does not restore the packet between its repetitions, so a
 * wrapper does: it puts length and headers back, picks a session at random, and calls the candidate. The time of the
 * wrapper with a candidate that does nothing is subtracted. The floor programs are what no data path can go below:
 * parse, adjust head, rewrite, redirect; no lookups. */
#include "gtpu.h"
#include "kernel.h"
#include "layout.h"
#include "parse.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} candidate SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 64);
} exits SEC(".maps");

#define UPLINK_HEADERS (sizeof(struct ethernet) + sizeof(struct outer_header) + sizeof(struct iphdr))
#define DOWNLINK_HEADERS (sizeof(struct ethernet) + sizeof(struct iphdr))
#define DOWNLINK6_HEADERS (sizeof(struct ethernet) + sizeof(struct ipv6hdr))

/* Not const: the compiler would take them for zeroes. */
__u8 uplink_headers[UPLINK_HEADERS] __attribute__((aligned(8)));
__u8 downlink_headers[DOWNLINK_HEADERS] __attribute__((aligned(8)));
__u8 downlink6_headers[DOWNLINK6_HEADERS] __attribute__((aligned(8)));

volatile const __u32 frame_length; /* before encapsulation or decapsulation */
volatile const __u32 frame6_length;
volatile const __u32 exit_port;

/* Session n has TEID first_teid + n * teid_stride, UE address first_ue + n * ue_stride, or the IPv6 /64 whose upper half
 * is first_prefix + n * ue_stride. */
__u32 sessions = 1; /* that are picked from */
__u32 first_teid;
__u32 first_ue;
__u64 first_prefix;
__u32 teid_stride = 1;
__u32 ue_stride = 1;

/* The time is taken every WINDOW packets, inside: the system call takes 16 ms more than the packets, its own figure is
 * in whole ns, and a window in which somebody else had the CPU can be told from the others. */
enum {
	WINDOW = 2048,
	STAMPS = 1024,
};

__u64 packets; /* so far; user space sets it to 0 */
__u64 stamps[STAMPS]; /* ns, when packet i * WINDOW came */

static __always_inline void count_packet(void)
{
	__u64 number = packets++;

	if (number % WINDOW == 0)
		stamps[number / WINDOW % STAMPS] = bpf_ktime_get_ns();
}

static __always_inline __u32 pick(void)
{
	return ((__u64)bpf_get_prandom_u32() * sessions) >> 32;
}

/* copy_headers copies an even number of octets, known to the compiler, in words: a load of the candidate that had to be put
 * together from the stores of single octets would wait for all of them, which it never does after a NIC. */
static __always_inline void copy_headers(void *to, const void *from, __u32 octets)
{
	__u32 at = 0;

#pragma unroll
	for (; at + 8 <= octets; at += 8)
		*(__u64 *)(to + at) = *(const __u64 *)(from + at);
#pragma unroll
	for (; at + 2 <= octets; at += 2)
		*(__u16 *)(to + at) = *(const __u16 *)(from + at);
}

/* restore gives the frame its length back. */
static __always_inline bool restore(struct xdp_md *ctx, __u32 length)
{
	int shorter = distance((void *)(long)ctx->data, (void *)(long)ctx->data_end) - length;

	return bpf_xdp_adjust_head(ctx, shorter) == 0;
}

static __always_inline bool prepare_uplink(struct xdp_md *ctx)
{
	struct {
		struct outer_header outer;
		struct iphdr inner;
	} *packet;
	__u32 session = pick();
	void *frame;

	if (!restore(ctx, frame_length + sizeof(struct outer_header)))
		return false;
	frame = (void *)(long)ctx->data;
	packet = frame + sizeof(struct ethernet);
	if ((void *)(packet + 1) > (void *)(long)ctx->data_end)
		return false;
	copy_headers(frame, uplink_headers, UPLINK_HEADERS);
	packet->outer.gtpu.teid = bpf_htonl(first_teid + session * teid_stride);
	packet->inner.saddr = bpf_htonl(first_ue + session * ue_stride);
	return true;
}

SEC("xdp")
int wrap_uplink(struct xdp_md *ctx)
{
	count_packet();
	if (prepare_uplink(ctx))
		bpf_tail_call(ctx, &candidate, 0);
	return XDP_ABORTED;
}

/* A live frame: sent by the far end of a port, it comes in there. */
SEC("xdp")
int generate_uplink(struct xdp_md *ctx)
{
	return prepare_uplink(ctx) ? XDP_TX : XDP_ABORTED;
}

static __always_inline bool prepare_downlink(struct xdp_md *ctx)
{
	__u32 session = pick();
	struct iphdr *ip;
	void *frame;

	if (!restore(ctx, frame_length))
		return false;
	frame = (void *)(long)ctx->data;
	ip = frame + sizeof(struct ethernet);
	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return false;
	copy_headers(frame, downlink_headers, DOWNLINK_HEADERS);
	ip->daddr = bpf_htonl(first_ue + session * ue_stride);
	return true;
}

SEC("xdp")
int wrap_downlink(struct xdp_md *ctx)
{
	count_packet();
	if (prepare_downlink(ctx))
		bpf_tail_call(ctx, &candidate, 0);
	return XDP_ABORTED;
}

/* A live frame: sent by the far end of a port, it comes in there. */
SEC("xdp")
int generate_downlink(struct xdp_md *ctx)
{
	return prepare_downlink(ctx) ? XDP_TX : XDP_ABORTED;
}

SEC("xdp")
int wrap_downlink6(struct xdp_md *ctx)
{
	__u64 session = pick();
	struct ipv6hdr *ip;
	void *frame;

	count_packet();
	if (!restore(ctx, frame6_length))
		return XDP_ABORTED;
	frame = (void *)(long)ctx->data;
	ip = frame + sizeof(struct ethernet);
	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	copy_headers(frame, downlink6_headers, DOWNLINK6_HEADERS);
	*(__be64 *)&ip->daddr = bpf_cpu_to_be64(first_prefix + session * ue_stride);
	bpf_tail_call(ctx, &candidate, 0);
	return XDP_ABORTED;
}

__u64 arrived; /* live frames, at the far end that they leave by; one CPU sends and receives all */

SEC("xdp")
int arrive(struct xdp_md *ctx)
{
	arrived++;
	return XDP_DROP;
}

__u32 plain_exit; /* interface index */

/* What live frames are compared with: a redirect of what comes in, as it is. */
SEC("xdp")
int redirect_plain(struct xdp_md *ctx)
{
	return bpf_redirect_map(&exits, plain_exit, XDP_ABORTED);
}

SEC("xdp")
int nothing(struct xdp_md *ctx)
{
	return XDP_REDIRECT;
}

struct line {
	__u64 words[8];
};

/* Sized like the data path's tables. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct line);
	__uint(max_entries, 1);
} lines SEC(".maps");

/* One access to the session's line of a table: what every look-up costs at least, on this machine at this hour. */
SEC("xdp")
int access(struct xdp_md *ctx)
{
	__be32 *teid = (void *)(long)ctx->data + UPLINK_HEADERS - sizeof(struct iphdr) - sizeof(*teid);
	struct line *line;
	__u32 session;

	if ((void *)(teid + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	session = bpf_ntohl(*teid) - first_teid;
	line = bpf_map_lookup_elem(&lines, &session);
	return line && !READ_ONCE(line->words[0]) ? XDP_REDIRECT : XDP_DROP;
}

static __always_inline void write_floor_ethernet(struct ethernet *eth)
{
	static const __u8 macs[2 * ETH_ALEN] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 };

	__builtin_memcpy(eth, macs, sizeof(macs));
	eth->proto = bpf_htons(ETH_P_IP);
}

SEC("xdp")
int floor_uplink(struct xdp_md *ctx)
{
	struct cursor c = cursor_of(ctx);
	struct ethernet *eth = parse_ethernet(&c);
	struct gtpu_header *gtpu;
	struct udphdr *udp;
	struct iphdr *ip;
	__u8 qfi = NO_QFI;

	if (!eth || eth->proto != bpf_htons(ETH_P_IP))
		return XDP_DROP;
	ip = parse_ipv4(&c);
	if (!ip || ip->protocol != IPPROTO_UDP)
		return XDP_DROP;
	udp = parse_udp(&c, payload_of(ip));
	if (!udp || udp->dest != bpf_htons(GTPU_PORT))
		return XDP_DROP;
	gtpu = take(&c, sizeof(*gtpu));
	if (!gtpu || !is_g_pdu(gtpu) || parse_g_pdu(&c, udp, gtpu, &qfi) < 0 || !parse_ipv4(&c))
		return XDP_DROP;
	if (bpf_xdp_adjust_head(ctx, sizeof(struct outer_header)))
		return XDP_DROP;
	c = cursor_of(ctx);
	eth = parse_ethernet(&c);
	if (!eth)
		return XDP_DROP;
	write_floor_ethernet(eth);
	return bpf_redirect_map(&exits, exit_port, 0);
}

SEC("xdp")
int floor_downlink(struct xdp_md *ctx)
{
	struct cursor c = cursor_of(ctx);
	struct ethernet *eth = parse_ethernet(&c);
	struct peer peer = { .local = bpf_htonl(0x0a1e0101), .remote = bpf_htonl(0x0a0a0002), .checksum = 0x1234,
			     .outer = sizeof(struct outer_header), .qfi = NO_QFI };
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	__u32 octets;

	if (!eth)
		return XDP_DROP;
	if (eth->proto == bpf_htons(ETH_P_IP)) {
		ip = parse_ipv4(&c);
		if (!ip)
			return XDP_DROP;
		octets = bpf_ntohs(ip->tot_len);
	} else {
		ip6 = parse_ipv6(&c);
		if (!ip6)
			return XDP_DROP;
		octets = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	}
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct outer_header)))
		return XDP_DROP;
	c = cursor_of(ctx);
	eth = take(&c, sizeof(*eth) + sizeof(struct outer_header));
	if (!eth)
		return XDP_DROP;
	write_floor_ethernet(eth);
	write_outer((void *)(eth + 1), &peer, bpf_htonl(1), octets, 1);
	return bpf_redirect_map(&exits, exit_port, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
