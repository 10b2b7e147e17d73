-- release: gives a reserved name back.
-- KEYS[1] the name; ARGV the IMSI for which it was reserved
-- Returns 1.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
