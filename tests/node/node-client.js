// What the tests share: a stock client, made from the .proto files and nothing of ours.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import protobuf from 'protobufjs';

const folder = dirname(fileURLToPath(import.meta.url));
export const protoFolder = join(folder, '..', '..', 'proto');

export const loaderOptions = { keepCase: true, longs: BigInt, enums: String, defaults: true, oneofs: true };

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; tests/node/README.md says what these tests need`);
  return value;
}

export const target = `unix:${required('BPFLEET_SOCKET')}`;

function load(file) {
  const definition = protoLoader.loadSync(file, {
    ...loaderOptions,
    includeDirs: [protoFolder, '/usr/include'],
  });
  return grpc.loadPackageDefinition(definition);
}

export const api = load('bpfleet/v1/node.proto').bpfleet.v1;
export const health = load('grpc/health/v1/health.proto').grpc.health.v1;
export const reflection = load('grpc/reflection/v1/reflection.proto').grpc.reflection.v1;

export function connect(Client) {
  return new Client(target, grpc.credentials.createInsecure());
}

// A unary call as a promise.
export function call(client, method, request = {}, options = {}) {
  return new Promise((resolve, reject) => {
    client[method](request, new grpc.Metadata(), { deadline: Date.now() + 20000, ...options }, (error, response) =>
      error ? reject(error) : resolve(response),
    );
  });
}

// Everything a server stream brings until `enough` says so, or until its end; then it is cancelled.
export function collect(stream, enough = () => false) {
  return new Promise((resolve, reject) => {
    const messages = [];
    let done = false;
    const finish = () => {
      if (!done) resolve(messages);
      done = true;
    };
    stream.on('data', (message) => {
      messages.push(message);
      if (!done && enough(messages)) {
        finish();
        stream.cancel();
      }
    });
    stream.on('end', finish);
    stream.on('error', (error) => {
      if (done) return;
      done = true;
      reject(error);
    });
  });
}

// The google.rpc.ErrorInfo that an error carries in grpc-status-details-bin.
export function errorInfo(error) {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  if (!bytes) throw new Error(`no details in: ${error.message}`);
  const status = decode('Status', bytes);
  if (status.code !== error.code) throw new Error('the status in the details is another');
  const any = status.details.find((detail) => detail.type_url.endsWith('/google.rpc.ErrorInfo'));
  return decode('ErrorInfo', any.value);
}

let root;

// grpc-js decodes what services carry; a message inside a header takes protobufjs.
function decode(name, bytes) {
  if (!root) {
    root = new protobuf.Root();
    root.resolvePath = (_, path) =>
      join(path.startsWith('google/protobuf/') ? '/usr/include' : protoFolder, path);
    root.loadSync('google/rpc/status.proto', { keepCase: true });
  }
  const type = root.lookupType(`google.rpc.${name}`);
  return type.toObject(type.decode(bytes), { defaults: true });
}

// A bundle file with the signature beside it, as `minisign -S` leaves it.
export function readBundle(variable) {
  const path = required(variable);
  const bytes = readFileSync(path);
  return {
    bytes,
    minisig: readFileSync(`${path}.minisig`),
    digest: createHash('blake2b512').update(bytes).digest(),
  };
}

// Pushes a bundle in chunks; resolves to PushBundleResponse.
export function push(client, bundle, header = {}) {
  return new Promise((resolve, reject) => {
    const stream = client.PushBundle((error, response) => (error ? reject(error) : resolve(response)));
    const offset = Number(header.offset_bytes ?? 0);
    stream.write({
      header: {
        digest: bundle.digest,
        size_bytes: bundle.bytes.length,
        signatures: [{ minisig: bundle.minisig }],
        ...header,
      },
    });
    for (let at = offset; at < bundle.bytes.length; at += 65536) {
      stream.write({ chunk: bundle.bytes.subarray(at, at + 65536) });
    }
    stream.end();
  });
}
