from __future__ import annotations


async def test_a(start) -> None:
    async with start() as gateway:
        r = await gateway.chat()
        print(r.status_code, r.headers, r.text)
        r = await gateway.chat("forbidden")
        print(r.status_code, r.headers, r.text)
        r = await gateway.chat(stream=True)
        print(r.status_code, r.headers, r.text)
        for path in ("/healthz","/v1/models","/metrics","/nope","/v1/chat/completions","/v1/chat/complet","/v1/models/x/y"):
            r = await gateway.client.get(path)
            print(r.status_code, r.headers, r.text[-600:])
