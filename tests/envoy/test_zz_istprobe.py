import json
from tests.envoy.test_istio import *
def test_probe(gatehouse_stack):
    for p in (SIDECAR, GATEWAY):
        r = run(gatehouse_stack, p)
        call(r.stack, "delete_file", path="/x"); httpx.post(f"{r.stack.mcp_url}/internal", json={}); call(r.stack, "search", query="queue")
        httpx.post(f"{r.stack.url}/mcp%2fadmin", json={})
        for l in r.access_log(4): print(json.dumps(l))
        st = httpx.get(r.stack.envoy_admin_url+"/stats?filter=ext_proc|cluster.*(inbound|outbound|8080).*upstream_rq_total|8080.*rq_tot").text
        print(st)
        print(httpx.get(r.stack.admin_url+"/decisions?limit=5").text[:1500])
