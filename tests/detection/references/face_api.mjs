// Runs face-api.js's own SSD-MobileNet on pictures of 512 x 512 pixels and prints the boxes, as JSON.
// It is the independent reference of tests/detection/test_ssd_mobilenet.py.
//
//   npm pack @vladmandic/face-api@1.7.15; tar xzf vladmandic-face-api-1.7.15.tgz
//   python squares.py                              # writes NAME.rgb, 512 x 512 x 3 bytes each
//   node face_api.mjs package obama.rgb six-people.rgb > face_api.json

import { readFileSync } from "node:fs";
import { basename } from "node:path";

const [folder, ...pictures] = process.argv.slice(2);
const here = process.cwd();
const node = globalThis.process;
delete globalThis.process; // else the bundle takes this for a browser's build of itself run by Node, and fails
const faceapi = await import(`${here}/${folder}/dist/face-api.esm.js`);
globalThis.process = node;
const tf = faceapi.tf;
tf.env().setPlatform("plain", { now: () => performance.now(), isTypedArray: (a) => ArrayBuffer.isView(a) });
faceapi.env.setEnv({ Canvas: class {}, CanvasRenderingContext2D: class {}, Image: class {}, Video: class {} }); // unused
await tf.setBackend("cpu");
await tf.ready();

const manifest = JSON.parse(readFileSync(`${folder}/model/ssd_mobilenetv1_model-weights_manifest.json`));
const data = readFileSync(`${folder}/model/ssd_mobilenetv1_model.bin`);
const weights = tf.io.decodeWeights(data.buffer.slice(data.byteOffset, data.byteOffset + data.length), manifest[0].weights);
const net = new faceapi.SsdMobilenetv1();
net.loadFromWeightMap(weights);

const result = {};
for (const picture of pictures) {
  const pixels = tf.tensor3d(new Uint8Array(readFileSync(picture)), [512, 512, 3], "int32");
  const faces = await net.locateFaces(pixels, { minConfidence: 0.3, maxResults: 100 });
  result[basename(picture, ".rgb")] = faces.map((face) => ({
    score: Number(face.score.toPrecision(7)),
    box: [face.box.left, face.box.top, face.box.right, face.box.bottom].map((v) => Number(v.toFixed(3))),
  }));
}
console.log(JSON.stringify(result));
