// The node's API over its unix socket, with @grpc/grpc-js. README.md says what must run.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import dgram from 'node:dgram';
import { after, before, describe, test } from 'node:test';

import grpc from '@grpc/grpc-js';

import { api, call, collect, connect, errorInfo, health, push, readBundle } from './node-client.js';

let client;

before(() => {
  client = connect(api.NodeService);
});
after(() => client.close());

async function refusal(promise, code, reason) {
  const error = await promise.then(
    () => assert.fail('the call succeeded'),
    (e) => e,
  );
  assert.equal(error.code, code, error.message);
  const info = errorInfo(error);
  assert.equal(info.reason, reason);
  assert.equal(info.domain, 'bpfleet');
  return error;
}

describe('status and errors', () => {
  test('the status tells who calls', async () => {
    const status = await call(client, 'GetStatus');
    assert.equal(status.caller, `uid:${process.getuid()}`);
    assert.match(status.version, /^\d+\.\d+\.\d+$/);
    assert.ok(status.hooks.length > 0);
    assert.equal(status.audit_head.length, 32);
  });

  test('an error carries its reason in the details', async () => {
    await refusal(
      call(client, 'GetInstance', { name: 'instances/aaaaaaaaaaaaaaaa' }),
      grpc.status.NOT_FOUND,
      'NOT_FOUND',
    );
    await refusal(
      call(client, 'ListBundles', { page_token: 'nonsense' }),
      grpc.status.INVALID_ARGUMENT,
      'INVALID_PAGE_TOKEN',
    );
  });

  test('a deadline that has passed ends the call', async () => {
    await assert.rejects(call(client, 'GetStatus', {}, { deadline: Date.now() - 1 }), {
      code: grpc.status.DEADLINE_EXCEEDED,
    });
  });

  test('a call can be cancelled, and the connection goes on', async () => {
    const stream = client.Watch({});
    const ended = new Promise((resolve) => stream.on('error', resolve));
    stream.on('data', () => stream.cancel());
    assert.equal((await ended).code, grpc.status.CANCELLED);
    await call(client, 'GetStatus');
  });

  test('health says that it serves', async () => {
    const probe = connect(health.Health);
    assert.equal((await call(probe, 'Check', { service: '' })).status, 'SERVING');
    assert.equal((await call(probe, 'Check', { service: 'bpfleet.v1.NodeService' })).status, 'SERVING');
    await assert.rejects(call(probe, 'Check', { service: 'nobody' }), { code: grpc.status.NOT_FOUND });
    probe.close();
  });
});

describe('packet_count', () => {
  let bundle;
  let pushed;
  let instance;

  before(async () => {
    bundle = readBundle('BPFLEET_TEST_PACKET_COUNT');
    pushed = (await push(client, bundle)).bundle;
    const loaded = await call(client, 'Load', { bundle: pushed.name, durability: 'DURABILITY_BOOT' });
    instance = loaded.instance.name;
  });
  after(async () => {
    if (instance) await call(client, 'Unload', { instance });
    if (pushed) await call(client, 'RemoveBundle', { name: pushed.name });
  });

  test('a bundle is what was pushed', async () => {
    assert.deepEqual(Buffer.from(pushed.digest), bundle.digest);
    assert.equal(pushed.signers.length, 1);
    assert.equal((await push(client, bundle)).already_present, true);
    const listed = await call(client, 'ListBundles');
    assert.ok(listed.bundles.some((b) => b.name === pushed.name));
  });

  test('a tampered bundle is refused', async () => {
    const bytes = Buffer.from(bundle.bytes);
    bytes[bytes.length - 1] ^= 1;
    await refusal(
      push(client, { ...bundle, bytes }),
      grpc.status.INVALID_ARGUMENT,
      'BUNDLE_DIGEST_MISMATCH',
    );
  });

  test('lists show the instance with its programs and maps', async () => {
    const instances = (await call(client, 'ListInstances')).instances;
    assert.ok(instances.some((i) => i.name === instance && i.state === 'INSTANCE_STATE_READY'));
    const programs = (await call(client, 'ListPrograms', { instance })).programs;
    assert.ok(programs.some((p) => p.name === `${instance}/programs/count_tc_ingress`));
    const maps = (await call(client, 'ListMaps', { instance })).maps;
    assert.ok(maps.some((m) => m.name === `${instance}/maps/protocols`));
    const { map, btf } = await call(client, 'GetMap', { name: `${instance}/maps/protocols` });
    assert.ok(map.key_size > 0);
    assert.equal(btf.readUInt16LE(0), 0xeb9f);
  });

  test('packets are counted once a program is attached, and seen by lookup, dump and watch', async () => {
    const watch = client.Watch({});
    const changes = collect(watch, (seen) => {
      const synced = seen.findIndex((m) => m.part === 'synced');
      return synced >= 0 && seen.slice(synced).some((m) => m.part === 'change' && m.change.object === 'link');
    });
    const { link } = await call(client, 'Attach', {
      program: `${instance}/programs/count_tc_ingress`,
      hook: {
        kind: 'tc',
        target: Buffer.from('lo'),
        options: [{ key: 'direction', value: Buffer.from('ingress') }],
      },
    });
    assert.equal(link.hook_text, 'tc:lo:ingress');
    assert.equal(link.state, 'LINK_STATE_ATTACHED');
    const seen = await changes;
    const last = seen.at(-1).change;
    assert.equal(last.kind, 'CHANGE_KIND_PUT');
    assert.equal(last.link.name, link.name);
    assert.ok(seen.some((m) => m.part === 'change' && m.change.instance?.name === instance));

    const sender = dgram.createSocket('udp4');
    for (let i = 0; i < 50; i++) {
      await new Promise((resolve) => sender.send('x', 9, '127.0.0.1', resolve));
    }
    sender.close();

    const map = `${instance}/maps/protocols`;
    const dump = await collect(client.DumpMap({ map, encoding: 'ENCODING_JSON' }));
    const entries = dump.flatMap((m) => m.json).map((text) => JSON.parse(text));
    assert.ok(entries.length > 0);
    const packed = await collect(client.DumpMap({ map }));
    const description = (await call(client, 'GetMap', { name: map })).map;
    const stride = Math.ceil(description.value_size / 8) * 8;
    const valueSize = description.n_cpus > 0 ? stride * description.n_cpus : description.value_size;
    for (const message of packed) {
      assert.equal(message.entries.length, message.n_entries * (description.key_size + valueSize));
    }
    const keys = packed.flatMap((m) =>
      Array.from({ length: m.n_entries }, (_, i) => {
        const at = i * (description.key_size + valueSize);
        return m.entries.subarray(at, at + description.key_size);
      }),
    );
    const found = await call(client, 'LookupMap', { map, keys });
    assert.ok(found.entries.length >= entries.length);
    assert.ok(found.entries.every((e) => e.found && e.value.length === valueSize));

    await call(client, 'Detach', { link: link.name });
    const links = (await call(client, 'ListLinks', { instance })).links;
    assert.ok(!links.some((l) => l.name === link.name));
  });

  test('a map that is only read cannot be written', async () => {
    const map = `${instance}/maps/protocols`;
    const { map: description } = await call(client, 'GetMap', { name: map });
    const entry = {
      key: Buffer.alloc(description.key_size),
      value: Buffer.alloc(description.value_size),
    };
    const error = await call(client, 'UpdateMap', { map, entries: [entry] }).then(
      () => assert.fail('it was written'),
      (e) => e,
    );
    assert.ok(['MAP_READ_ONLY', 'PERMISSION_DENIED'].includes(errorInfo(error).reason), error.message);
  });
});

describe('exec_watch', () => {
  let pushed;
  let instance;

  before(async () => {
    pushed = (await push(client, readBundle('BPFLEET_TEST_EXEC_WATCH'))).bundle;
    const loaded = await call(client, 'Load', {
      bundle: pushed.name,
      durability: 'DURABILITY_BOOT',
      attach_defaults: true,
    });
    instance = loaded.instance.name;
    assert.ok(loaded.links.length > 0);
  });
  after(async () => {
    if (instance) await call(client, 'Unload', { instance });
    if (pushed) await call(client, 'RemoveBundle', { name: pushed.name });
  });

  test('events of programs started now arrive, decoded', async () => {
    const stream = client.StreamEvents({ source: instance, encoding: 'ENCODING_JSON' });
    const mark = `bpfleet-test-${process.pid}`;
    let started = false;
    const seen = await collect(stream, (messages) => {
      if (!started) {
        started = true;
        execFileSync('/bin/echo', [mark]);
      }
      return messages.some((m) => m.part === 'batch' && m.batch.json.some((e) => e.includes(mark)));
    });
    assert.equal(seen[0].part, 'sources');
    assert.equal(seen[0].sources.maps[0].name, `${instance}/maps/events`);
    const batch = seen.at(-1).batch;
    assert.equal(batch.subscriber_lost, 0n);
    assert.equal(batch.kernel_lost_known, true);
    const event = JSON.parse(batch.json.find((e) => e.includes(mark)));
    assert.ok(JSON.stringify(event).includes('echo'));
  });

  test('sequence numbers have no gap, packed records have their length', async () => {
    const stream = client.StreamEvents({ source: `${instance}/maps/events` });
    let started = false;
    let next = 0n;
    const seen = await collect(stream, (messages) => {
      if (!started) {
        started = true;
        for (let i = 0; i < 20; i++) execFileSync('/bin/true');
      }
      const batches = messages.filter((m) => m.part === 'batch');
      return batches.reduce((n, m) => n + m.batch.n_events, 0) >= 20;
    });
    for (const { batch } of seen.filter((m) => m.part === 'batch')) {
      assert.equal(batch.first_sequence, next);
      next += BigInt(batch.n_events);
      let at = 0;
      for (let i = 0; i < batch.n_events; i++) at += 4 + batch.events.readUInt32LE(at);
      assert.equal(at, batch.events.length);
    }
  });

  test('the stream ends when the instance is unloaded', async () => {
    const stream = client.StreamEvents({ source: instance });
    const ended = new Promise((resolve) => stream.on('error', resolve));
    stream.once('data', () => call(client, 'Unload', { instance }).catch(() => {}));
    const error = await ended;
    instance = undefined;
    assert.equal(error.code, grpc.status.NOT_FOUND);
    assert.match(error.details, /unloaded/);
  });
});
