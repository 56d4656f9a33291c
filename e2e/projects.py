"""Empty mini-programs, as before any code is written: native, Taro, uni-app."""

import json
import os
import shutil
from pathlib import Path

import pytest

from .phones import MINIPROGRAM, run

EXAMPLES = MINIPROGRAM.parent / "examples"

NATIVE = {
    "app.js": "App({})\n",
    "app.json": json.dumps(
        {
            "pages": ["pages/index/index"],
            "window": {"navigationBarTitleText": "Weixin", "navigationBarTextStyle": "black"},
            "style": "v2",
            "sitemapLocation": "sitemap.json",
        }
    ),
    "sitemap.json": json.dumps({"rules": [{"action": "allow", "page": "*"}]}),
    "project.config.json": json.dumps(
        {
            "appid": "touristappid",
            "compileType": "miniprogram",
            "libVersion": "latest",
            "setting": {"es6": True, "urlCheck": True},
        }
    ),
    "pages/index/index.js": "Page({})\n",
    "pages/index/index.json": "{}\n",
    "pages/index/index.wxml": "<view>Hello</view>\n",
}


TARO = {
    "babel.config.js": "module.exports = {\n"
    "  presets: [['taro', { framework: 'react', ts: true, compiler: 'webpack5' }]]\n}\n",
    "config/index.ts": """import { defineConfig } from '@tarojs/cli'

export default defineConfig({
  projectName: 'app',
  designWidth: 750,
  deviceRatio: { 640: 2.34 / 2, 750: 1, 828: 1.81 / 2 },
  sourceRoot: 'src',
  outputRoot: 'dist',
  framework: 'react',
  plugins: ['@tarojs/plugin-framework-react', '@tarojs/plugin-platform-weapp'],
  compiler: 'webpack5'
})
""",
    "project.config.json": json.dumps({"miniprogramRoot": "dist/", "appid": "touristappid"}),
    "src/app.config.ts": """export default defineAppConfig({
  pages: [
    'pages/index/index'
  ],
  window: {
    navigationBarTitleText: 'WeChat'
  }
})
""",
    "src/app.ts": """import type { PropsWithChildren } from 'react'

function App ({ children }: PropsWithChildren) {
  return children
}

export default App
""",
    "src/pages/index/index.config.ts": "export default definePageConfig({})\n",
    "src/pages/index/index.tsx": """import { Text, View } from '@tarojs/components'

export default function Index () {
  return <View><Text>Hello world!</Text></View>
}
""",
}

UNI_APP = {
    "index.html": '<div id="app"></div><script type="module" src="/src/main.ts"></script>\n',
    "vite.config.ts": """import uni from '@dcloudio/vite-plugin-uni'
import { defineConfig } from 'vite'

export default defineConfig({ plugins: [(uni as any).default?.() ?? uni()] })
""",
    "src/App.vue": "<script>\nexport default {}\n</script>\n",
    "src/main.ts": """import { createSSRApp } from 'vue'
import App from './App.vue'

export function createApp () {
  return { app: createSSRApp(App) }
}
""",
    "src/manifest.json": json.dumps(
        {"name": "app", "vueVersion": "3", "mp-weixin": {"appid": "touristappid"}}
    ),
    "src/pages.json": json.dumps(
        {
            "pages": [
                {"path": "pages/index/index", "style": {"navigationBarTitleText": "uni-app"}}
            ],
            "globalStyle": {"navigationBarTitleText": "uni-app", "navigationBarTextStyle": "black"},
        }
    ),
    "src/pages/index/index.vue": "<template><view>Hello</view></template>\n",
}


def framework_project(folder: Path, files: dict[str, str], example: str) -> Path:
    """Write an empty project that has the framework installed, as the example's build has it."""
    source = EXAMPLES / example
    if not (source / "node_modules").is_dir():
        missing = f"examples/{example}/node_modules is missing (npm ci)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    package = json.loads((source / "package.json").read_text())
    del package["dependencies"]["groupsite"]
    app = project(folder, files | {"package.json": json.dumps(package | {"name": "app"})})
    # Not by links: npm writes into files that are there.
    run("cp", "-a", f"{source}/node_modules/.", app / "node_modules")
    shutil.rmtree(app / "node_modules" / "groupsite", ignore_errors=True)
    return app


def project(folder: Path, files: dict[str, str]) -> Path:
    """Write an empty project into a folder of its own, named as people here name theirs."""
    for name, text in files.items():
        target = folder / "小程序" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder / "小程序"
