"""What the package gives to build tools and test runners is what their types ask for."""

from __future__ import annotations

from pathlib import Path

from tests.emit_js.projects import project

CONFIGURATIONS = """
import { build } from 'esbuild'
import { defineConfig } from 'vite'
import { defineConfig as defineTests } from 'vitest/config'
import type { Reporter } from 'vitest/node'
import type { Config } from 'jest'
import type { Configuration } from 'webpack'
import { bers as forEsbuild } from '@bers/emit/esbuild'
import { bers as forVite, type Options } from '@bers/emit/vite'
import ForVitest from '@bers/emit/vitest'
import ForWebpack, { BersPlugin } from '@bers/emit/webpack'

const options: Options = { name: 'shop', environment: 'staging', budget: 2 }
export const vite = defineConfig({ plugins: [forVite(options)] })
export const webpack: Configuration = { plugins: [new BersPlugin(options), new ForWebpack()] }
export const esbuild = () => build({ plugins: [forEsbuild(options)] })
export const reporter: Reporter = new ForVitest(options)
export const vitest = defineTests({ test: { reporters: [reporter, ['@bers/emit/vitest', { ...options }]] } })
export const jest: Config = { reporters: ['default', ['@bers/emit/jest', { ...options }]] }
"""

OPTIONS = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "--types", "node"]


def test_configurations_in_typescript_are_right_and_a_wrong_option_is_not(built: Path, tmp_path: Path) -> None:
    typed = project(tmp_path, built, {"package.json": '{"type": "module"}', "right.ts": CONFIGURATIONS})
    typed.write({"wrong.ts": CONFIGURATIONS.replace("budget: 2", "budget: '2 s'")})
    done = typed.run("tsc", *OPTIONS, "right.ts", "wrong.ts")
    assert done.code == 2, done.said
    [fault] = [line for line in done.said.splitlines() if "error" in line]
    assert fault.startswith("wrong.ts") and "'string' is not assignable to type 'number'" in fault
