-- Stores a response where lookups find it, if nothing forbids it: 1, or 0.
--
-- KEYS  the primary key · the variant's key · the key of the variant that nothing selects · the key
--       of the variant that the stored response was
-- ARGV  the value · its TTL in ms, 0: none · its selector · a generation for a new rule ·
--       the grace in ms for bodies that are let go · freshening: the token of the stored response,
--       otherwise nothing · how long its body is, where it stands elsewhere
local primary, variant = KEYS[1], KEYS[2]
local value, ttl, selector, new_generation, grace, wanted, framed =
  ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local asked = asked_at(value)
local is_freshening = wanted ~= ''
local MAX_SELECTORS = 8

local home
if is_freshening then
  home = home_of(primary, KEYS[4], wanted)
  if not home then
    return 0
  end
end

local kind, prefix = read(primary)
local barrier = 0
if kind == TOMBSTONE or kind == RULE then
  barrier = asked_at(prefix)
elseif is_response(kind) and selector ~= '' and home ~= primary then
  -- It becomes one of several; what was asked for before it may be from before an invalidation.
  barrier = asked_at(prefix)
end
if asked < barrier then
  return 0
end

local target = primary
if kind == RULE or selector ~= '' then
  target = variant
end
local old_kind, old = read(target)
if not is_freshening and is_response(old_kind) and asked_at(old) > asked
  and (target == primary or kind == RULE and generation(old) == generation(prefix)) then
  return 0
end

if string.byte(value, 6) == ELSEWHERE then
  local body = body_key(primary, value)
  if redis.call('STRLEN', body) ~= framed then
    return 0
  end
  if ttl == 0 then
    redis.call('PERSIST', body)
  else
    redis.call('PEXPIRE', body, ttl + grace)
  end
end
if is_response(old_kind) and token(old) ~= token(value) then
  let_go(primary, old_kind, old, grace)
end

local function set(key, bytes, milliseconds)
  if milliseconds == 0 then
    redis.call('SET', key, bytes)
  else
    redis.call('SET', key, bytes, 'PX', milliseconds)
  end
end
if kind ~= RULE then
  sweep(primary, grace)
end
set(target, value, ttl)
if home and home ~= target then
  redis.call('UNLINK', home)
  redis.pcall('SREM', primary .. ':i', home)
  if home == primary then
    kind = nil
  end
end
if target == primary then
  return 1
end

local left = kind and redis.call('PTTL', primary) or -2
local current, selectors = new_generation, ''
if kind == RULE then
  current, selectors = generation(prefix), redis.call('GETRANGE', primary, 68, -1)
else
  if is_response(kind) then
    redis.call('RENAME', primary, KEYS[3])
    redis.call('SETRANGE', KEYS[3], 40, current)
    if left == -1 then
      redis.pcall('SADD', primary .. ':i', KEYS[3])
    end
    selectors = '\n'
  end
end
redis.call('SETRANGE', target, 40, current)
if ttl == 0 then
  redis.pcall('SADD', primary .. ':i', target)
end

local is_new = not string.find('\n' .. selectors, '\n' .. selector .. '\n', 1, true)
if is_new then
  selectors = selectors .. selector .. '\n'
  local _, lines = string.gsub(selectors, '\n', '')
  if lines > MAX_SELECTORS then
    selectors = string.sub(selectors, string.find(selectors, '\n', 1, true) + 1)
  end
end
-- The rule lives as long as its longest variant, and as long as what it remembers.
local lasts = left
if ttl == 0 or left == -1 then
  lasts = 0
elseif ttl > left then
  lasts = ttl
end
if is_new or kind ~= RULE then
  local rule = 'httc\1' .. string.char(RULE) .. '\0\0' .. struct.pack('>I8', barrier)
    .. string.rep('\0', 24) .. current .. struct.pack('<I4', #selectors) .. string.rep('\0', 16)
    .. selectors
  set(primary, rule, lasts)
elseif lasts == 0 and left ~= -1 then
  redis.call('PERSIST', primary)
elseif lasts > left and left ~= -1 then
  redis.call('PEXPIRE', primary, lasts)
end
return 1
