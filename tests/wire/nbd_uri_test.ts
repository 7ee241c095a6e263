// NBD URIs: every form that is understood, and a sentence for every one that is not.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { isNbdUri, parseNbdUri } from "../../src/wire/nbd_uri.ts";

Deno.test("nbd uri: the forms of the specification, and the short one for a socket", () => {
  const unix = (socketPath: string, exportName = "") => ({ kind: "unix", socketPath, exportName });
  const tcp = (host: string, port = 10809, exportName = "") => ({
    ...{ kind: "tcp", host, port, exportName },
  });
  const cases: readonly (readonly [string, unknown])[] = [
    ["nbd+unix:///run/nbd.sock", unix("/run/nbd.sock")],
    ["nbd+unix:///?socket=/run/nbd.sock", unix("/run/nbd.sock")],
    ["nbd+unix://?socket=/run/nbd.sock", unix("/run/nbd.sock")],
    ["nbd+unix:///disk?socket=/run/nbd.sock", unix("/run/nbd.sock", "disk")],
    ["nbd+unix:////disk?socket=/run/nbd.sock", unix("/run/nbd.sock", "/disk")],
    ["NBD+UNIX:///a%20b?x=y&socket=/run/%2Fn", unix("/run//n", "a b")],
    ["nbd://host", tcp("host")],
    ["nbd://host/", tcp("host")],
    ["nbd://host:10810/pool/image", tcp("host", 10810, "pool/image")],
    ["nbd://host:/disk", tcp("host", 10809, "disk")],
    ["nbd://10.0.0.1/disk", tcp("10.0.0.1", 10809, "disk")],
    ["nbd://[fe80::1]:7/%C3%A4", tcp("fe80::1", 7, "ä")],
    ["nbd://host/disk?tls-certificates=x", tcp("host", 10809, "disk")],
  ];
  for (const [text, expected] of cases) {
    assert(isNbdUri(text), text);
    assertEquals(parseNbdUri(text), expected as ReturnType<typeof parseNbdUri>, text);
  }
});

Deno.test("nbd uri: what is wrong with it is said in one sentence", () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ["nbds://host/disk", /asks for TLS/],
    ["nbds+unix:///disk?socket=/s", /asks for TLS/],
    ["nbd+vsock://1/disk", /scheme that is not known/],
    ["nbd://host/disk#part", /is no NBD URI/],
    ["nbd:///disk", /names no host/],
    ["nbd://me@host/disk", /names no host/],
    ["nbd://host:0/disk", /port that is not from 1 to 65535/],
    ["nbd://host:65536/disk", /port that is not from 1 to 65535/],
    ["nbd://host/disk?socket=/run/s", /goes with nbd\+unix/],
    ["nbd+unix://run/nbd.sock", /three slashes/],
    ["nbd+unix:///", /names no socket/],
    ["nbd+unix:///disk?socket=relative", /names no socket/],
    ["nbd+unix:///run/", /names no socket/],
    ["nbd+unix:///run/%00x", /names no socket/],
    ["nbd+unix:///%zz", /no two hex digits follow/],
    ["nbd://host/%ff", /is no UTF-8/],
    [`nbd+unix:///${"s".repeat(108)}`, /socket path of more than 107 bytes/],
    [`nbd://host/${"e".repeat(4097)}`, /export name of more than 4096 bytes/],
  ];
  for (const [text, expected] of cases) {
    assert(isNbdUri(text), text);
    const refusal = parseNbdUri(text);
    assert(typeof refusal === "string", text);
    assertMatch(refusal, expected);
  }
});

Deno.test("nbd uri: the path of a file is none", () => {
  for (const text of ["disk.img", "nbd", "nbd:disk", "/dev/nbd0", "./nbd://x", "http://x/y"]) {
    assertEquals(isNbdUri(text), false, text);
  }
});
