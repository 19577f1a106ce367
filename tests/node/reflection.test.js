// A client that knows nothing but the reflection protocol: it asks the server what there is, and calls it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import descriptor from 'protobufjs/ext/descriptor/index.js';

import { call, connect, loaderOptions, reflection } from './node-client.js';

let reflector;

before(() => {
  reflector = connect(reflection.ServerReflection);
});
after(() => reflector.close());

// One question, one answer.
function ask(request) {
  return new Promise((resolve, reject) => {
    const stream = reflector.ServerReflectionInfo();
    stream.on('data', resolve);
    stream.on('error', reject);
    stream.write(request);
    stream.end();
  });
}

test('reflection lists the services', async () => {
  const answer = await ask({ list_services: '' });
  const names = answer.list_services_response.service.map((service) => service.name);
  for (const name of [
    'bpfleet.v1.NodeService',
    'grpc.health.v1.Health',
    'grpc.reflection.v1.ServerReflection',
  ]) {
    assert.ok(names.includes(name), name);
  }
});

test('what does not exist is not found', async () => {
  const answer = await ask({ file_containing_symbol: 'bpfleet.v1.Nothing' });
  assert.equal(answer.error_response.error_code, grpc.status.NOT_FOUND);
});

test('a method found by reflection alone can be called', async () => {
  const { FileDescriptorProto, FileDescriptorSet } = descriptor;
  const files = new Map();
  const wanted = [{ file_containing_symbol: 'bpfleet.v1.NodeService' }];

  while (wanted.length > 0) {
    const answer = await ask(wanted.pop());
    for (const bytes of answer.file_descriptor_response.file_descriptor_proto) {
      const file = FileDescriptorProto.decode(bytes);
      if (files.has(file.name)) continue;
      files.set(file.name, file);
      for (const name of file.dependency) wanted.push({ file_by_filename: name });
    }
  }
  const set = FileDescriptorSet.encode({ file: [...files.values()] }).finish();
  const definition = protoLoader.loadFileDescriptorSetFromBuffer(Buffer.from(set), loaderOptions);
  const { NodeService } = grpc.loadPackageDefinition(definition).bpfleet.v1;
  assert.deepEqual(
    ['GetStatus', 'PushBundle', 'StreamEvents', 'Watch'].filter((name) => !NodeService.service[name]),
    [],
  );
  const client = connect(NodeService);
  const status = await call(client, 'GetStatus');
  assert.equal(status.caller, `uid:${process.getuid()}`);
  client.close();
});
