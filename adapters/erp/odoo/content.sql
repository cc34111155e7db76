with {{>company.sql}}, {{>item.sql}}, language as (
  select code, code as locale from unnest({{locales}}) code
  {{^locales}}union all select 'en_US', 'default'{{/locales}}
)
select item.id as key, item.sku, language.locale,
       coalesce(t.name ->> language.code, t.name ->> 'en_US', (select value from jsonb_each_text(t.name) limit 1)) as title,
       -- plain text in Odoo
       replace(replace(replace(replace(
         coalesce(t.description_sale ->> language.code, t.description_sale ->> 'en_US'),
         '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), E'\n', '<br>') as description_html,
       {{#attributes}}coalesce((
         select json_object_agg(coalesce(a.name ->> language.code, a.name ->> 'en_US'),
                                coalesce(v.name ->> language.code, v.name ->> 'en_US'))
           from product_variant_combination c
           join product_template_attribute_value tv on tv.id = c.product_template_attribute_value_id
           join product_attribute_value v on v.id = tv.product_attribute_value_id
           join product_attribute a on a.id = v.attribute_id
          where c.product_product_id = item.id), '{}'){{/attributes}}
       {{^attributes}}'{}'::json{{/attributes}} as attributes,
       {{#image_url}}coalesce((
         -- a variant's own picture, else that of its template
         select json_agg(json_build_object('url', rtrim({{image_url}}, '/') || '/web/image/product.product/' || item.id
                         || '/image_1920?unique=' || left(i.checksum, 8), 'position', 1,
                         'alt', coalesce(t.name ->> language.code, t.name ->> 'en_US')))
           from (select a.checksum from ir_attachment a
                  where a.res_model = 'product.product' and a.res_field = 'image_variant_1920' and a.res_id = item.id
                     or a.res_model = 'product.template' and a.res_field = 'image_1920' and a.res_id = item.template
                  order by a.res_model, a.id limit 1) i), '[]'){{/image_url}}
       {{^image_url}}'[]'::json{{/image_url}} as images,
       coalesce((
         -- from the root to the product's own
         select json_agg(up.name order by length(up.parent_path))
           from product_category own join product_category up on own.parent_path like up.parent_path || '%'
          where own.id = item.categ_id), '[]') as categories
  from item
  join product_template t on t.id = item.template
  cross join language
