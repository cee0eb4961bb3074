"""The Redis side of the counter: Lua scripts, each of which runs as one step that nothing can come between.

Keys, all under one prefix in braces so that a cluster keeps them on one node:

    <p>:used:<account>:<window>:<start>   hash: used, reserved, by:<source>; goes a day after its window
    <p>:rate:<account>:<kind>             hash: level, at
    <p>:streams:<account>                 how many are open
    <p>:leases                            request -> when its reservation is given back by itself
    <p>:lease                             request -> what it holds, packed
    <p>:lines:<source>                    the lines on which a source has counted
    <p>:source:<source>                   there while what a source has counted is there
    <p>:workers                           source of each worker -> when it was last heard of

`used` is the sum of what each source says has been spent: sources send their total, not a difference, so a message that
comes twice or is lost and sent again counts once. A source is one life of one worker, `<ledger>:<life>`; when it has
died the others send what the ledger says it spent. What no life has counted (it was written before there was Redis) is
the source `<ledger>`. Time is Redis's own, so that workers' clocks need not agree.
"""

COMMON = """
local p = KEYS[1]
local function whole(x) return string.format('%.0f', x) end
local function clock()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1e6
end
local function expire(line, finish)
  if finish < 4503599627370496 then redis.call('EXPIREAT', line, whole(finish + 86400)) end
end
local function release(member)
  local packed = redis.call('HGET', p .. ':lease', member)
  if packed then
    local lease = cmsgpack.unpack(packed)
    for _, line in ipairs(lease.lines) do
      if redis.call('EXISTS', line) == 1 then redis.call('HINCRBY', line, 'reserved', '-' .. lease.granted) end
    end
    for _, account in ipairs(lease.streams) do
      if redis.call('DECR', p .. ':streams:' .. account) <= 0 then redis.call('DEL', p .. ':streams:' .. account) end
    end
    redis.call('HDEL', p .. ':lease', member)
  end
  redis.call('ZREM', p .. ':leases', member)
end
local function hold(member, granted, lines, streams, expires)
  local kept = {}
  for _, line in ipairs(granted == 0 and {} or lines) do
    redis.call('HINCRBY', line[1], 'reserved', whole(granted))
    expire(line[1], line[2])
    kept[#kept + 1] = line[1]
  end
  for _, account in ipairs(streams) do redis.call('INCR', p .. ':streams:' .. account) end
  redis.call('HSET', p .. ':lease', member, cmsgpack.pack({granted = whole(granted), lines = kept, streams = streams}))
  redis.call('ZADD', p .. ':leases', expires, member)
end
local function count(source, totals)
  for _, total in ipairs(totals) do
    local line, used = total[1], total[2]
    local before = tonumber(redis.call('HGET', line, 'by:' .. source) or '0')
    redis.call('HSET', line, 'by:' .. source, whole(used))
    redis.call('HINCRBY', line, 'used', whole(used - before))
    redis.call('SADD', p .. ':lines:' .. source, line)
    expire(line, total[3])
  end
end
local function bucket(rate, now)
  local key = p .. ':rate:' .. rate.account .. ':' .. rate.kind
  local kept = redis.call('HMGET', key, 'level', 'at')
  local level, at = tonumber(kept[1] or rate.per_minute), tonumber(kept[2] or now)
  return key, math.min(rate.per_minute, level + math.max(0, now - at) * rate.per_minute / 60)
end
local function fill(key, level, now)
  redis.call('HSET', key, 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
  redis.call('EXPIRE', key, 3600)
end
"""

RESERVE = (
    COMMON
    + """
local ask, now = cjson.decode(ARGV[1]), clock()
if redis.call('EXISTS', p .. ':source:' .. ask.source) == 0 then return {'unknown'} end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', p .. ':leases', '-inf', now, 'LIMIT', 0, 100)) do
  release(member)
end
local room, levels, granted, keys = {}, {}, ask.most, {}
local against, index, wait = '', 0, 0
for i, cap in ipairs(ask.caps) do
  local kept = redis.call('HMGET', cap.line, 'used', 'reserved')
  local used, reserved = tonumber(kept[1] or '0'), tonumber(kept[2] or '0')
  room[#room + 1] = whole(used)
  room[#room + 1] = whole(reserved)
  local left = cap.hard - used - reserved
  if against == '' and left < ask.least and ask.least > 0 then against, index = 'budget', i - 1 end
  granted = math.max(0, math.min(granted, left))
end
for i, rate in ipairs(ask.rates) do
  local key, level = bucket(rate, now)
  local needed = math.min(rate.amount, rate.per_minute)
  keys[i], levels[i] = key, level
  if against == '' and level < needed then
    against, index, wait = 'rate', i - 1, (needed - level) * 60 / rate.per_minute
  end
end
for i, stream in ipairs(ask.streams) do
  local open = tonumber(redis.call('GET', p .. ':streams:' .. stream.account) or '0')
  if against == '' and open >= stream.most then against, index, wait = 'streams', i - 1, 1 end
end
if against == '' then
  local streams = {}
  for i, rate in ipairs(ask.rates) do
    levels[i] = levels[i] - rate.amount
    fill(keys[i], levels[i], now)
  end
  for i, stream in ipairs(ask.streams) do streams[i] = stream.account end
  hold(ask.member, granted, ask.lines, streams, now + ask.lease)
else
  granted = 0
end
for i, level in ipairs(levels) do levels[i] = string.format('%.6f', level) end
return {against, whole(granted), whole(index), string.format('%.6f', wait), room, levels}
"""
)
"""One request: everything it asks for, or nothing and what stands against it."""

SETTLE = (
    COMMON
    + """
local said, now = cjson.decode(ARGV[1]), clock()
if redis.call('EXISTS', p .. ':source:' .. said.source) == 0 then return 'unknown' end
for _, member in ipairs(said.done) do release(member) end
count(said.source, said.totals)
for _, rate in ipairs(said.rates) do
  local key, level = bucket(rate, now)
  fill(key, math.min(rate.per_minute, level + rate.amount), now)
end
return ''
"""
)
"""What has ended since the last time, all at once. `totals` are the source's sums, `rates` what buckets get back."""

START = (
    COMMON
    + """
local said, now = cjson.decode(ARGV[1]), clock()
local mine = said.source .. '/'
for _, member in ipairs(redis.call('ZRANGE', p .. ':leases', 0, -1)) do
  if string.sub(member, 1, #mine) == mine then release(member) end
end
local stale = {}
for _, line in ipairs(redis.call('SMEMBERS', p .. ':lines:' .. said.source)) do stale[line] = true end
for _, total in ipairs(said.totals) do stale[total[1]] = nil end
for line in pairs(stale) do
  local used = redis.call('HGET', line, 'by:' .. said.source)
  if used then
    redis.call('HINCRBY', line, 'used', whole(-tonumber(used)))
    redis.call('HDEL', line, 'by:' .. said.source)
  end
  redis.call('SREM', p .. ':lines:' .. said.source, line)
end
count(said.source, said.totals)
for _, lease in ipairs(said.open) do
  hold(lease.member, lease.granted, lease.lines, lease.streams, now + said.lease)
end
redis.call('SET', p .. ':source:' .. said.source, '1')
return ''
"""
)
"""A source says all that it knows: its sums replace what was counted for it, its open requests its reservations."""

BEAT = (
    COMMON
    + """
local said, now = cjson.decode(ARGV[1]), clock()
local before = tonumber(redis.call('ZSCORE', p .. ':workers', said.source) or '0')
redis.call('ZADD', p .. ':workers', now, said.source)
redis.call('ZREMRANGEBYSCORE', p .. ':workers', '-inf', now - 86400)
for _, member in ipairs(said.open) do redis.call('ZADD', p .. ':leases', 'XX', now + said.lease, member) end
return {
  redis.call('ZRANGEBYSCORE', p .. ':workers', now - said.lease, '+inf'),
  redis.call('ZRANGEBYSCORE', p .. ':workers', '-inf', '(' .. (now - said.lease)),
  before < now - said.lease and 1 or 0,
}
"""
)
"""A worker lives: its reservations are kept for another while. The answer: which workers live, which have died within a
day, and whether others could have taken this one for dead.
"""
