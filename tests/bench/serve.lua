-- Single questions, each thread from a place of its own on; tells what wrk measured as one line of JSON.
local bodies, at, threads = {}, 0, 0

function setup(thread)
  thread:set("place", threads)
  threads = threads + 1
end

function init(args)
  for line in io.lines(args[1]) do
    bodies[#bodies + 1] = wrk.format("POST", "/v1/complete", { ["Content-Type"] = "application/json" }, line)
  end
  at = math.floor(place * #bodies / 7) % #bodies
end

function request()
  at = at % #bodies + 1
  return bodies[at]
end

function done(summary, latency, requests)
  io.write(string.format(
    'JSON {"requests": %d, "seconds": %.4f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "not_2xx": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
