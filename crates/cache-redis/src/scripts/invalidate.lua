-- Removes all responses of a resource: none of them can be found without what stood at the primary
-- key. A tombstone remembers when.
--
-- KEYS  the primary key
-- ARGV  the tombstone · its TTL in ms · the grace in ms for bodies that are let go
local primary, tombstone, ttl, grace = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local kind, prefix = read(primary)
if kind == TOMBSTONE and asked_at(prefix) > asked_at(tombstone) then
  return 0
end
redis.call('SET', primary, tombstone, 'PX', ttl)
let_go(primary, kind, prefix, grace)
sweep(primary, grace)
return 1
