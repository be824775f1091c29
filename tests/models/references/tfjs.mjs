// Runs TensorFlow.js's own graph models on a made-up picture and prints some of what they give, as JSON.
// It is the independent reference of tests/models/test_tfjs_graph.py.
//
//   npm install @tensorflow/tfjs@4.22.0; npm pack @vladmandic/human@3.3.6; tar xzf vladmandic-human-3.3.6.tgz
//   node tfjs.mjs package/models blazeface facemesh iris emotion faceres > tfjs.json

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const tf = createRequire(process.cwd() + "/")("@tensorflow/tfjs");

// The same picture is made in test_tfjs_graph.py: 0..255, then scaled to 0..1.
function picture(height, width, channels) {
  const pixels = new Float32Array(height * width * channels);
  let i = 0;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++) pixels[i++] = ((3 * x * x + 5 * y * y + x * y + 40 * c) % 256) / 255;
  return tf.tensor4d(pixels, [1, height, width, channels]);
}

function load(folder, name) {
  const model = JSON.parse(readFileSync(`${folder}/${name}.json`));
  const files = model.weightsManifest.flatMap((group) => group.paths.map((path) => readFileSync(`${folder}/${path}`)));
  const data = Buffer.concat(files);
  return tf.loadGraphModel({
    load: async () => ({
      modelTopology: model.modelTopology,
      weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
      weightData: data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength),
      signature: model.signature ?? model.userDefinedMetadata?.signature,
    }),
  });
}

const [folder, ...names] = process.argv.slice(2);
const result = {};
await tf.setBackend("cpu");
for (const name of names) {
  const model = await load(folder, name);
  const [, height, width, channels] = model.inputs[0].shape;
  const outputs = model.outputNodes;
  const values = [model.execute(picture(height, width, channels), outputs)].flat();
  result[name] = {};
  outputs.forEach((output, i) => {
    const flat = Array.from(values[i].dataSync());
    const step = Math.ceil(flat.length / 200);
    result[name][output] = {
      shape: values[i].shape,
      step,
      values: flat.filter((_, k) => k % step === 0).map((v) => Number(v.toPrecision(7))),
    };
  });
}
console.log(JSON.stringify(result));
