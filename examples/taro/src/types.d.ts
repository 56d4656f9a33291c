/// <reference types="@tarojs/taro" />
/// <reference types="groupsite/jsx" />

declare module '*.css'
