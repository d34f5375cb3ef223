local RESPONSE, ELSEWHERE, RULE, TOMBSTONE = 1, 2, 3, 4

-- What stands at a key: its kind and its prefix; nothing, where it is not ours.
local function read(key)
  local prefix = redis.pcall('GETRANGE', key, 0, 67)
  if type(prefix) ~= 'string' or #prefix < 68 or string.sub(prefix, 1, 5) ~= 'httc\1' then
    return nil
  end
  return string.byte(prefix, 6), prefix
end

local function is_response(kind)
  return kind == RESPONSE or kind == ELSEWHERE
end

local function asked_at(prefix)
  return (struct.unpack('>I8', prefix, 9))
end

local function token(prefix)
  return string.sub(prefix, 25, 40)
end

local function generation(prefix)
  return string.sub(prefix, 41, 48)
end

-- The key of a body that stands elsewhere.
local function body_key(primary, prefix)
  local hex = string.gsub(token(prefix), '.', function(byte)
    return string.format('%02x', string.byte(byte))
  end)
  return primary .. ':b:' .. hex
end

-- A body that nobody will look up any more stays for those who read it now.
local function let_go(primary, kind, prefix, grace)
  if kind == ELSEWHERE then
    redis.call('PEXPIRE', body_key(primary, prefix), grace)
  end
end

-- Removes the variants that have no TTL, and cannot be found any more.
local function sweep(primary, grace)
  local index = primary .. ':i'
  local variants = redis.pcall('SMEMBERS', index)
  if variants.err or #variants == 0 then
    return
  end
  for _, variant in ipairs(variants) do
    local kind, prefix = read(variant)
    let_go(primary, kind, prefix, grace)
    redis.call('UNLINK', variant)
  end
  redis.call('UNLINK', index)
end

-- Where the response with this token stands, if it can be found from the primary key.
local function home_of(primary, variant, wanted)
  local kind, prefix = read(primary)
  if is_response(kind) and token(prefix) == wanted then
    return primary, kind, prefix
  end
  if kind == RULE then
    local current = generation(prefix)
    kind, prefix = read(variant)
    if is_response(kind) and token(prefix) == wanted and generation(prefix) == current then
      return variant, kind, prefix
    end
  end
  return nil
end
