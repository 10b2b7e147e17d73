-- claim: leases the requests to a node that are due.
-- KEYS[1] the node's; ARGV now, end of the lease (milliseconds), how many at most
-- Returns their names.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, name in ipairs(due) do
  redis.call('ZADD', KEYS[1], ARGV[2], name)
end
return due
