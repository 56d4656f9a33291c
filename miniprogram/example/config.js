module.exports = {
  // 各环境的服务端：开发版、体验版、正式版。真机预览时，develop 填局域网地址。
  // One server for each environment. To preview on a phone, set `develop` to a LAN address.
  baseUrl: {
    develop: 'http://127.0.0.1:8000',
    trial: 'https://groups.example.com',
    release: 'https://groups.example.com'
  },

  // 填 'demo-alice'，不需要 appid 就能看 make demo 的演示群；真实的服务端不接受它。
  // 'demo-alice' shows the groups of `make demo` without an appid; a real server refuses it.
  demoCode: '',

  // 微信云托管：{ env: '环境', service: '服务' }；不用云托管时留空。
  // WeChat Cloud Run: the environment and the service, or nothing without it.
  cloud: undefined
}
