// SPDX-License-Identifier: Apache-2.0
// node upload.mjs URL TOKEN DATASET FILE PATH CHUNK: sends FILE with tus-js-client and says how far it is.
import fs from 'node:fs'
import * as tus from 'tus-js-client'

const [endpoint, token, dataset, file, path, chunk] = process.argv.slice(2)
const upload = new tus.Upload(fs.createReadStream(file), {
  endpoint,
  headers: { Authorization: `Bearer ${token}` },
  metadata: { dataset, filename: path },
  uploadSize: fs.statSync(file).size,
  chunkSize: chunk === 'all' ? Infinity : Number(chunk),
  retryDelays: Array(120).fill(500),
  onProgress: (sent) => console.log(`sent ${sent}`),
  onError: (error) => {
    console.error(String(error))
    process.exit(1)
  },
  onSuccess: () => console.log('done'),
})
upload.start()
